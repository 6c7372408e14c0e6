"""Has a message stamped at a URL and verifies that with rfc3161-client.

Arguments: URL, the root's certificate, and the hash function's name in that library.
"""

import sys
import urllib.request

from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response

url, root, hash_name = sys.argv[1:]
message = b"what is stamped"
builder = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm[hash_name])
request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
headers = {"Content-Type": "application/timestamp-query"}
posted = urllib.request.Request(url, data=request.as_bytes(), headers=headers)
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(posted, timeout=20) as reply:
    response = decode_timestamp_response(reply.read())

with open(root, "rb") as file:
    verifier = VerifierBuilder().add_root_certificate(x509.load_pem_x509_certificate(file.read()))
verifier = verifier.nonce(request.nonce).policy_id(response.tst_info.policy).build()
assert verifier.verify_message(response, message)
try:
    verifier.verify_message(response, message + b".")
except Exception as error:
    print("another message:", error)
else:
    raise AssertionError("it verifies for another message, too")
print("verified", response.tst_info.gen_time.isoformat(), f"{response.tst_info.serial_number:x}")
