"""Has a PDF stamped by each of several authorities with pyHanko, and validates each document time-stamp.

Arguments: the root's certificate, then names of kinds of keys with their URLs, `p256=http://…`.
"""

import asyncio
import io
import sys

from pyhanko.keys import load_cert_from_pemder
from pyhanko.pdf_utils.generic import ArrayObject, DictionaryObject, NameObject, NumberObject
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter
from pyhanko.sign.signers import PdfTimeStamper
from pyhanko.sign.timestamps.aiohttp_client import HTTPTimeStamper
from pyhanko.sign.validation import async_validate_pdf_timestamp
from pyhanko_certvalidator import ValidationContext


def one_empty_page():
    writer = PdfFileWriter()
    contents = writer.add_object(DictionaryObject())
    writer.insert_page(PageObject(contents=contents, media_box=(0, 0, 200, 200)))
    document = io.BytesIO()
    writer.write(document)
    return document


async def stamp(url, root):
    context = ValidationContext(trust_roots=[load_cert_from_pemder(root)], allow_fetching=False)
    stamper = PdfTimeStamper(HTTPTimeStamper(url, timeout=20))
    writer = IncrementalPdfFileWriter(one_empty_page())
    document = await stamper.async_timestamp_pdf(writer, "sha256", validation_context=context)
    (stamped,) = PdfFileReader(document).embedded_timestamp_signatures
    status = await async_validate_pdf_timestamp(stamped, context)
    assert status.valid and status.intact and status.trusted, status
    return status.timestamp


for argument in sys.argv[2:]:
    name, url = argument.split("=", 1)
    print("valid", name, asyncio.run(stamp(url, sys.argv[1])).isoformat())
