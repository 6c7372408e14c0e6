use std::{fs, os::unix::fs::PermissionsExt as _};

use super::super::{
    Assembly,
    tests::{read, refuses},
};
use crate::{
    feed::redis::Trust,
    source::openssl::{Ca, KEYS},
};

/// A CA with two pairs of keys for writers, as `openssl` makes them.
fn site() -> Ca {
    let ca = Ca::new("Feed", KEYS[1]);
    for name in ["w", "v"] {
        ca.openssl(&["genpkey", "-algorithm", "ed25519", "-out", &format!("{name}.key")]);
        ca.openssl(&["pkey", "-in", &format!("{name}.key"), "-pubout", "-out", &format!("{name}.pub")]);
    }
    put(&ca, "redis.password", "secret-7391\n", 0o600);
    ca
}

fn put(ca: &Ca, name: &str, content: &str, mode: u32) {
    fs::write(ca.path(name), content).unwrap();
    fs::set_permissions(ca.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

const WRITER: &str = "[[issuer]]\ncertificate = \"ca.pem\"\nindex = \"index.txt\"\nsigner = { key = \"ca.key\" }\n";
const REPLICA: &str = "[[issuer]]\ncertificate = \"ca.pem\"\nsigner = {}\n";

fn file(lines: &str, issuers: &str) -> String {
    let feed = format!("[feed]\ncluster = \"a\"\nredis = \"redis.example:6379\"\n{lines}\n");
    format!("version = 1\n{feed}{issuers}")
}

fn opened(ca: &Ca, lines: &str, issuers: &str) -> Assembly {
    read(ca, &file(lines, issuers)).unwrap_or_else(|error| panic!("{lines}: {error}"))
}

#[test]
fn a_writer_has_its_key_and_everybody_trusts_the_same() {
    let ca = site();
    let both = fs::read_to_string(ca.path("w.pub")).unwrap() + &fs::read_to_string(ca.path("v.pub")).unwrap();
    put(&ca, "both.pub", &both, 0o644);
    let writer =
        opened(&ca, "trusted = [\"w.pub\", \"v.pub\"]\nkey = \"w.key\"\npassword_file = \"redis.password\"", WRITER);
    let feed = writer.feed.as_ref().unwrap();
    let key = feed.key.as_ref().unwrap().public();
    assert!(feed.trusted.has(&key));
    assert_eq!(
        (feed.trusted.count(), feed.redis.login.password.as_deref().map(String::as_str)),
        (2, Some("secret-7391"))
    );
    assert!(!format!("{writer:?}").contains("7391"), "{writer:?}");
    // One file with both, and one of them again.
    let replica = opened(&ca, "trusted = [\"both.pub\", \"w.pub\"]", REPLICA);
    let feed = replica.feed.as_ref().unwrap();
    assert!(feed.key.is_none() && feed.trusted.has(&key) && feed.trusted.count() == 2, "{feed:?}");
}

#[test]
fn the_cas_of_redis_may_be_in_any_form_of_a_certificate() {
    let ca = site();
    ca.openssl(&["x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der"]);
    let text = ca.openssl(&["x509", "-in", "ca.pem"]);
    for (lines, expected) in [
        ("tls_ca = \"ca.pem\"", Some(Trust::These(text.clone().into()))),
        ("tls_ca = \"ca.der\"", Some(Trust::These(text.clone().into()))),
        ("tls_ca = \"system\"", Some(Trust::System)),
        ("", None),
    ] {
        let replica = opened(&ca, &format!("trusted = \"w.pub\"\n{lines}"), REPLICA);
        assert_eq!(replica.feed.unwrap().redis.tls, expected, "{lines}");
    }
}

#[test]
fn a_signer_without_a_key_is_what_the_same_signer_with_its_key_is() {
    let ca = site();
    for (key, algorithm) in [(KEYS[0], ""), (KEYS[0], "algorithm = \"rsa-pss\""), (KEYS[1], ""), (KEYS[3], "")] {
        let other = Ca::new("Signer", key);
        for name in ["w.pub", "w.key"] {
            fs::copy(ca.path(name), other.path(name)).unwrap();
        }
        let keys = if algorithm.is_empty() { "" } else { ", " };
        let with = WRITER.replace("\"ca.key\"", &format!("\"ca.key\"{keys}{algorithm}"));
        let without = REPLICA.replace("{}", &format!("{{ {algorithm} }}"));
        let writer = opened(&other, "trusted = \"w.pub\"\nkey = \"w.key\"", &with);
        let replica = opened(&other, "trusted = \"w.pub\"", &without);
        let signer = |assembly: &Assembly| assembly.tenants[0].issuers[0].signer().clone();
        let (with, without) = (signer(&writer), signer(&replica));
        assert!(with.signing().is_some() && without.signing().is_none());
        // So that the answers of the one are found and served by the other.
        assert_eq!(with.template().fingerprint(), without.template().fingerprint(), "{algorithm}");
    }
    refuses(
        &ca,
        &file("trusted = \"w.pub\"", &REPLICA.replace("{}", "{ algorithm = \"rsa-pss\" }")),
        &["issuer.signer.algorithm: asks for"],
    );
    refuses(
        &ca,
        &file("trusted = \"w.pub\"", &REPLICA.replace("{}", "{ certificate = \"leaf.pem\" }")),
        &["issuer.signer.certificate: "],
    );
}

#[test]
fn what_the_feed_names_and_cannot_be_used_is_told_with_the_remedy() {
    let ca = site();
    put(&ca, "empty", "\n", 0o600);
    put(&ca, "two", "secret-7391\nsecret-7391\n", 0o600);
    put(&ca, "open.password", "secret-7391", 0o644);
    let key = fs::read_to_string(ca.path("w.key")).unwrap();
    put(&ca, "open.key", &key, 0o644);
    put(&ca, "none.pub", "nothing", 0o644);
    let trusted = "trusted = \"w.pub\"\n";
    for (lines, told) in [
        ("trusted = \"absent.pub\"", "feed.trusted: "),
        ("trusted = [\"w.key\"]", "w.key: holds a private key, which stays with its writer"),
        ("trusted = \"ca.pem\"", "ca.pem: holds no public key: expected PEM"),
        ("trusted = \"none.pub\"", "none.pub: holds no public key: expected PEM"),
        ("trusted = \"ca.pub\"", "ca.pub: holds a public key that is not Ed25519"),
        ("trusted = \"v.pub\"\nkey = \"w.key\"", "feed.trusted: does not have the public key of "),
        (&format!("{trusted}key = \"absent.key\""), "absent.key: does not exist"),
        (&format!("{trusted}key = \"ca.key\""), "ca.key: holds a private key that is not Ed25519"),
        (&format!("{trusted}key = \"w.pub\""), "w.pub: holds a public key, which signs nothing"),
        (&format!("{trusted}key = \"open.key\""), "open.key: holds a private key and has mode 0644"),
        (&format!("{trusted}key = \"hidden-7391\""), "feed.key: names no file beside the configuration"),
        (&format!("{trusted}password_file = \"absent.password\""), "absent.password: does not exist"),
        (&format!("{trusted}password_file = \"secret-7391\""), "is not shown, as it may be the password itself"),
        (&format!("{trusted}password_file = \"empty\""), "empty: is empty; write the password"),
        (&format!("{trusted}password_file = \"two\""), "two: holds something else than one line"),
        (&format!("{trusted}password_file = \"open.password\""), "holds the password of Redis and has mode 0644"),
        (&format!("{trusted}tls_ca = \"absent.pem\""), "absent.pem: cannot be read"),
        (&format!("{trusted}tls_ca = \"w.pub\""), "w.pub: holds no certificate"),
    ] {
        ca.openssl(&["pkey", "-in", "ca.key", "-pubout", "-out", "ca.pub"]);
        let error = read(&ca, &file(lines, WRITER)).expect_err(lines);
        assert!(error.contains(told) && error.contains("feed.") && error.lines().count() == 1, "{lines}: {error}");
        assert!(!error.contains("7391"), "{lines}: {error}");
    }
    // All at once.
    let all = file("trusted = \"absent.pub\"\npassword_file = \"empty\"\ntls_ca = \"w.pub\"", WRITER);
    refuses(&ca, &all, &["feed.trusted: ", "feed.password_file: ", "feed.tls_ca: "]);
}

#[test]
fn no_more_keys_are_trusted_than_a_reader_compares() {
    let ca = site();
    let key = |number: u8| {
        let mut bytes = [0x42; 32];
        bytes[31] = number;
        der::pem::encode_string("PUBLIC KEY", der::pem::LineEnding::LF, &super::PublicKey(bytes).spki()).unwrap()
    };
    let keys = |count: u8| (0..count).map(key).collect::<String>();
    put(&ca, "many.pub", &keys(64), 0o644);
    assert_eq!(opened(&ca, "trusted = \"many.pub\"", REPLICA).feed.unwrap().trusted.count(), 64);
    put(&ca, "many.pub", &keys(65), 0o644);
    refuses(&ca, &file("trusted = \"many.pub\"", REPLICA), &["names 65 keys; at most 64 are trusted"]);
}

#[test]
fn an_issuer_without_sources_is_not_followed() {
    let ca = site();
    let replica = opened(&ca, "trusted = \"w.pub\"", REPLICA);
    let error = crate::engine::Engine::open(&replica).unwrap_err().to_string();
    assert!(error.contains("default/CN=Feed, which has no source here"), "{error}");
    assert!(!ca.path("state/book.redb").exists());
}

#[test]
fn as_many_standbys_have_to_have_a_push_as_there_are_other_writers_at_most() {
    let ca = site();
    let lines =
        |wanted: u32| format!("trusted = [\"w.pub\", \"v.pub\"]\nkey = \"w.key\"\nacknowledge_standbys = {wanted}");
    assert_eq!(opened(&ca, &lines(1), WRITER).feed.unwrap().acknowledge_standbys, 1);
    let told =
        "acknowledge_standbys: is 2, and `trusted` has the keys of 1 other writers: no push would ever be acknowledged";
    refuses(&ca, &file(&lines(2), WRITER), &[told]);
}
