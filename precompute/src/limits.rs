//! Every bound of this crate, with its derivation.

/// Octets of a certificate file: a chain of a few certificates, each of which can hold an
/// ML-DSA key and signature (about 8 KiB), with wide room.
pub const CERTIFICATE_FILE_OCTETS_MAX: u64 = 1 << 20;

/// Octets of a key file: RSA-4096 as PKCS#8 PEM is 3.3 KiB.
pub const KEY_FILE_OCTETS_MAX: u64 = 64 << 10;

/// Octets of the configuration file: 500 tenants of 2 KiB each, and as much again for comments, squared up.
pub const CONFIG_FILE_OCTETS_MAX: u64 = 4 << 20;

/// Octets of a CRL: 10 million entries of about 40 octets.
pub const CRL_FILE_OCTETS_MAX: u64 = 512 << 20;

/// Octets of one line of `index.txt`: the subject is the only long field, and OpenSSL caps a
/// name's encoding far below this.
pub const INDEX_LINE_OCTETS_MAX: usize = 64 << 10;
