//! A CA with a CRL of many entries: `crl DIRECTORY ENTRIES`, for `benches/crl`.
//!
//! Serial numbers have 16 random bytes, entries a reason of five, and the CRL is signed by P-256. It makes `ca.pem`,
//! `ca.key`, `ca.crl` and `ostia.toml`, and tells no time.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::{env, fs, path::Path, process::Command};

use precompute::pki::certificates;

const ECDSA_SHA_256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let mut bytes = vec![tag];
    match content.len() {
        0..0x80 => bytes.push(length[7]),
        0x80..0x100 => bytes.extend([&[0x81], &length[7..]].concat()),
        0x100..0x1_0000 => bytes.extend([&[0x82], &length[6..]].concat()),
        0x1_0000..0x100_0000 => bytes.extend([&[0x83], &length[5..]].concat()),
        _ => bytes.extend([&[0x84], &length[4..]].concat()),
    }
    bytes.extend(content);
    bytes
}

/// 39 bytes, and 51 with a reason, which two of three have.
fn entries(count: u64) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for at in 0..count {
        let mut serial = [random().to_be_bytes(), random().to_be_bytes()].concat();
        serial[0] = serial[0] & 0x7f | 1;
        let mut fields = [element(2, &serial), element(0x17, b"250102030405Z")].concat();
        if at % 3 > 0 {
            fields.extend_from_slice(&[
                0x30,
                12,
                0x30,
                10,
                6,
                3,
                0x55,
                0x1d,
                21,
                4,
                3,
                10,
                1,
                [1, 3, 4, 5, 9][at as usize % 5],
            ]);
        }
        entries.extend(element(0x30, &fields));
    }
    entries
}

fn openssl(dir: &Path, arguments: &[&str]) {
    assert!(Command::new("openssl").args(arguments).current_dir(dir).status().unwrap().success());
}

fn main() {
    let mut arguments = env::args().skip(1);
    let dir = arguments.next().expect("a directory");
    let count = arguments.next().expect("a number of entries").parse().unwrap();
    let dir = Path::new(&dir);
    fs::create_dir_all(dir).unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key"];
    openssl(dir, &[&["req", "-x509", "-subj", "/CN=CA", "-days", "99", "-out", "ca.pem"][..], &key].concat());
    let ca = certificates(&dir.join("ca.pem")).unwrap().remove(0);
    let number = [0xa0, 14, 0x30, 12, 0x30, 10, 6, 3, 0x55, 0x1d, 20, 4, 3, 2, 1, 1];
    let times = b"\x17\x0d260102030405Z\x17\x0d490102030405Z";
    let fields =
        [&[2, 1, 1], ECDSA_SHA_256, ca.subject_der(), times, &element(0x30, &entries(count)), &number].concat();
    let tbs = element(0x30, &fields);
    fs::write(dir.join("tbs"), &tbs).unwrap();
    openssl(dir, &["dgst", "-sha256", "-sign", "ca.key", "-out", "signature", "tbs"]);
    let signature = fs::read(dir.join("signature")).unwrap();
    let crl = [&tbs, ECDSA_SHA_256, &element(3, &[&[0], &signature[..]].concat())].concat();
    fs::write(dir.join("ca.crl"), element(0x30, &crl)).unwrap();
    fs::remove_file(dir.join("tbs")).unwrap();
    let config = "version = 1\nunlisted = \"unknown\"\npresign = false\n[admin]\nlisten = \"127.0.0.1:19090\"\n\
         [[issuer]]\ncertificate = \"ca.pem\"\ncrl = \"ca.crl\"\nsigner = { key = \"ca.key\" }\n";
    fs::write(dir.join("ostia.toml"), config).unwrap();
    println!("a CRL of {count} entries, {} MiB", element(0x30, &crl).len() >> 20);
}
