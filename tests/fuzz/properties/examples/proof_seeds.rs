//! Writes the seeds of `proof`: `cargo run -p ostia-properties --example proof_seeds`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use precompute::{
    journal::{Identity, KEY_FILE},
    ocsp::HashAlgorithm,
    pki::{Reason, Serial, Status, UnixTime},
    state_dir::ServerId,
    transparency::{Answer, Keeper, Said, Statement, keeper::Whose, key, prove::prove, segment::Segment},
};

const ISSUER: [u8; 32] = [5; 32];
/// PKCS#8 (RFC 8410) of the key of 32 octets of 7.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(KEY_FILE);
    fs::write(&file, PEM).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut id = [7; 16];
    (id[6], id[8]) = (0x40, 0x80);
    let server = ServerId::from_bytes(id);
    let signs = Identity::of(server, dir.path()).unwrap().key;
    let directory = dir.path().join("map");
    let mut keeper = Keeper::open(&directory, Whose { cluster: "seeds".into(), server, key: signs }, 1000).unwrap();
    let serial = |number: u8| Serial::from_magnitude(&[number]).unwrap();
    let good = Said::Record(Some(Status::Good));
    let answer = Said::Answer(Answer {
        hash: HashAlgorithm::Sha1,
        form: [1; 8],
        signature: [2; 32],
        this_update: UnixTime(1),
        next_update: UnixTime(100),
    });
    let revoked = Said::Record(Some(Status::Revoked { time: UnixTime(2), reason: Reason::KeyCompromise }));
    for number in 1..6 {
        for said in [good, answer] {
            keeper.note(key(&ISSUER, &serial(number)), Statement { at: 1100, said }).unwrap();
        }
    }
    keeper.head(2000).unwrap();
    keeper.note(key(&ISSUER, &serial(1)), Statement { at: 2100, said: revoked }).unwrap();
    keeper.head(3000).unwrap();
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds/proof");
    fs::create_dir_all(&seeds).unwrap();
    for (name, number, at) in
        [("revoked", 1, 2500), ("good", 2, 2500), ("absent", 99, 2500), ("empty", 1, 1050), ("at-a-head", 1, 3000)]
    {
        let proof = prove(&directory, &[ISSUER], &serial(number), at).unwrap().remove(0);
        let json = serde_json::to_string(&proof).unwrap();
        fs::write(seeds.join(format!("taken-{name}.json")), &json).unwrap();
        if number == 1 && at == 2500 {
            fs::write(seeds.join("refused-time.json"), json.replace("\"at\":2500", "\"at\":3500")).unwrap();
            fs::write(seeds.join("refused-serial.json"), json.replace("\"serial\":\"01\"", "\"serial\":\"02\""))
                .unwrap();
        }
    }
    let file = Segment::all(&directory).unwrap().remove(0).path;
    fs::copy(file, seeds.join("refused-file.map")).unwrap();
}
