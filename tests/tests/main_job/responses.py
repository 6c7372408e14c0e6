"""Reads an OCSP response with `cryptography`, and says of each SingleResponse: hash algorithm, serial number, status."""

import sys
from pathlib import Path

from cryptography.x509 import ocsp

response = ocsp.load_der_ocsp_response(Path(sys.argv[1]).read_bytes())
for single in response.responses:
    print(single.hash_algorithm.name, format(single.serial_number, "X"), single.certificate_status.name)
