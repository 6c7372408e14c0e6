"""Makes an ML-DSA key of each size and has a CA certify it for time-stamping, which openssl 3.0 cannot.

Arguments: the CA's certificate and key, and the directory for `ml-dsa-44.key`, `ml-dsa-44.pem` and so on.
"""

import datetime
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

SIZES = {44: mldsa.MLDSA44PrivateKey, 65: mldsa.MLDSA65PrivateKey, 87: mldsa.MLDSA87PrivateKey}

ca_file, ca_key_file, directory = sys.argv[1:]
with open(ca_file, "rb") as file:
    ca = x509.load_pem_x509_certificate(file.read())
with open(ca_key_file, "rb") as file:
    ca_key = load_pem_private_key(file.read(), None)
now = datetime.datetime.now(datetime.timezone.utc)
for size, kind in SIZES.items():
    key = kind.generate()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"ML-DSA-{size}")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca.subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=365))
    for extension in [
        x509.KeyUsage(True, False, False, False, False, False, False, False, False),
        x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.TIME_STAMPING]),
    ]:
        builder = builder.add_extension(extension, critical=True)
    certificate = builder.sign(ca_key, hashes.SHA256())
    with open(os.path.join(directory, f"ml-dsa-{size}.pem"), "wb") as file:
        file.write(certificate.public_bytes(Encoding.PEM))
    own = os.open(os.path.join(directory, f"ml-dsa-{size}.key"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(own, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
