//! What a replica said, proven later: with one writer, Redis, and two replicas that keep it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use der::{Decode as _, Encode as _, asn1::OctetString};
use ostia_tests::{Ca, Cluster, ClusterPlan, Ended, Member, Status, http, programs, run};
use serde_json::Value;
use x509_ocsp::{BasicOcspResponse, OcspResponse};

use crate::{SOON, issued, until_logged};

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn seconds(at: u64) -> String {
    format!("{}.{:03}", at / 1000, at % 1000)
}

/// A cluster whose replicas make a head each second.
fn keeping() -> Cluster {
    let mut cluster = ClusterPlan::of(1, 2).set_up();
    for replica in &cluster.replicas {
        let lines = "[transparency]\ndirectory = \"said\"\nhead_every = \"1s\"\n[http]\n";
        replica.site().edit_config(|text| text.replacen("[http]\n", lines, 1));
    }
    cluster.writers.iter_mut().for_each(Member::start);
    cluster.until_led(SOON);
    cluster.replicas.iter_mut().for_each(Member::start);
    (0..cluster.replicas.len()).for_each(|replica| cluster.until_filled(replica));
    cluster
}

/// The newest head, as a replica hands it out.
fn head(member: &Member) -> Option<Value> {
    let reply = http::get(member.site().admin, "/transparency/head");
    (reply.status == 200).then(|| serde_json::from_slice(&reply.body).unwrap())
}

/// A proof by a replica's files, in a file; once a head is after that time.
#[track_caller]
fn prove(cluster: &Cluster, member: &Member, serial: &str, at: u64) -> PathBuf {
    let output = member.site().dir().join(format!("{serial}-{at}.proof"));
    let arguments = [serial, &seconds(at), "--output", output.to_str().unwrap()];
    cluster.until(&format!("{serial} at {at} can be proven"), SOON, || {
        let ended = member.site().precompute("prove", &arguments);
        let is_early =
            ended.text.contains("no head is after that time yet") && ended.text.contains("the next one is due");
        assert!(ended.status.success() || is_early, "{}", ended.text);
        ended.status.success().then_some(())
    });
    output
}

fn verify(proof: &Path, key: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new(&programs().precompute);
    run(command.arg("verify").arg(proof).args(["--key", key]).args(arguments))
}

/// What a proof says: the status, and the reason if it is revoked.
#[track_caller]
fn verified(proof: &Path, key: &str, arguments: &[&str]) -> Value {
    let ended = verify(proof, key, &[arguments, &["--json"]].concat());
    assert!(ended.status.success(), "{}", ended.text);
    serde_json::from_str(&ended.text).unwrap_or_else(|error| panic!("{error}: {}", ended.text))
}

#[track_caller]
fn is_refused(ended: &Ended, why: &str) {
    assert!(!ended.status.success() && ended.status.code() != Some(101) && ended.text.contains(why), "{}", ended.text);
}

/// One response with the signature, and its algorithm, of another.
fn with_signature_of(words: &[u8], signed: &[u8]) -> Vec<u8> {
    let opened = |der: &[u8]| {
        let response = OcspResponse::from_der(der).unwrap();
        let basic = BasicOcspResponse::from_der(response.response_bytes.as_ref().unwrap().response.as_bytes()).unwrap();
        (response, basic)
    };
    let ((mut response, mut basic), (_, other)) = (opened(words), opened(signed));
    (basic.signature, basic.signature_algorithm) = (other.signature, other.signature_algorithm);
    response.response_bytes.as_mut().unwrap().response = OctetString::new(basic.to_der().unwrap()).unwrap();
    response.to_der().unwrap()
}

/// The public key of a replica, as the list of servers has it.
#[track_caller]
fn key_of(cluster: &Cluster, member: &Member) -> String {
    let admin = member.site().admin.to_string();
    cluster.until("the server is listed", SOON, || {
        let mut command = Command::new(&programs().precompute);
        let ended = run(command.args(["server", "list", "--json", "--config"]).arg(cluster.writers[0].site().config()));
        let list: Value = serde_json::from_str(&ended.text).ok()?;
        let is_it = |server: &&Value| server["addresses"]["admin"][0] == *admin;
        Some(list["servers"].as_array()?.iter().find(is_it)?["key"].as_str()?.to_owned())
    })
}

/// Pushes, and waits until all replicas say so; gives a time before and one after it.
#[track_caller]
fn push(cluster: &Cluster, verb: &str, serial: &str, reason: &str, status: &Status) -> (u64, u64) {
    let before = now();
    let pushed = cluster.push_body(0, verb, &format!("{{\"serial\":\"{serial}\"{reason}}}"));
    assert_eq!(pushed.status, 200, "{pushed:?}");
    cluster.until_said_everywhere(serial, status, SOON);
    (before, now())
}

/// The bytes of the answer that a replica gives.
#[track_caller]
fn response(cluster: &Cluster, member: &Member, serial: &str, name: &str) -> PathBuf {
    let body = http::post(member.site().http, "/", &cluster.ask(serial).request()).body;
    let path = member.site().dir().join(name);
    fs::write(&path, body).unwrap();
    path
}

#[test]
fn what_a_replica_said_is_proven_at_each_time_and_by_its_own_key_alone() {
    let mut cluster = keeping();
    let begun = now();
    let serial = issued(&cluster);
    let known = now();
    let good_response = response(&cluster, &cluster.replicas[0], &serial, "good.der");
    let hold = push(&cluster, "revoke", &serial, ",\"reason\":\"certificateHold\"", &Status::Revoked);
    let release = push(&cluster, "release", &serial, "", &Status::Good);
    let end = push(&cluster, "revoke", &serial, ",\"reason\":\"keyCompromise\"", &Status::Revoked);
    let revoked_response = response(&cluster, &cluster.replicas[0], &serial, "revoked.der");
    let last = now();
    let keys: Vec<String> = cluster.replicas.iter().map(|replica| key_of(&cluster, replica)).collect();
    let cases = [
        (known, "good", ""),
        (hold.0, "good", ""),
        (hold.1, "revoked", "certificateHold"),
        (release.0, "revoked", "certificateHold"),
        (release.1, "good", ""),
        (end.0, "good", ""),
        (end.1, "revoked", "keyCompromise"),
        (last, "revoked", "keyCompromise"),
    ];
    let are_proven = |cluster: &Cluster| {
        for (replica, key) in cluster.replicas.iter().zip(&keys) {
            for (at, status, reason) in cases {
                let told = verified(&prove(cluster, replica, &serial, at), key, &[]);
                let is = &told["record"]["is"];
                assert_eq!(
                    (is["status"].as_str(), is["reason"].as_str().unwrap_or("")),
                    (Some(status), reason),
                    "{told}"
                );
            }
            let told = verified(&prove(cluster, replica, &serial, begun), key, &[]);
            assert!(told["record"].is_null() && told["answers"].as_array().unwrap().is_empty(), "{told}");
        }
    };
    are_proven(&cluster);

    // The answers that were given out are among what was said, and no other.
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let authority = path(&cluster.ca.certificate());
    let replica = &cluster.replicas[0];
    let (early, late) = (prove(&cluster, replica, &serial, known), prove(&cluster, replica, &serial, last));
    for (proof, response) in [(&early, &good_response), (&late, &revoked_response)] {
        let told = verified(proof, &keys[0], &["--issuer-certificate", &authority, "--response", &path(response)]);
        assert_eq!(told["response"]["in_force"], true, "{told}");
        assert!(told["answers"].as_array().is_some_and(|answers| !answers.is_empty()), "{told}");
    }
    is_refused(
        &verify(&early, &keys[0], &["--issuer-certificate", &authority, "--response", &path(&revoked_response)]),
        "was not said to be given out",
    );
    let words =
        verify(&late, &keys[0], &["--issuer-certificate", &authority, "--response", &path(&revoked_response)]).text;
    assert!(
        words.contains(" keyCompromise")
            && words.contains(", said since")
            && words.contains("response says revoked")
            && words.contains("was given out then"),
        "{words}"
    );
    let other = issued(&cluster);
    let of_another = response(&cluster, &cluster.replicas[0], &other, "other.der");
    is_refused(
        &verify(&late, &keys[0], &["--issuer-certificate", &authority, "--response", &path(&of_another)]),
        "another certificate",
    );
    is_refused(
        &verify(&late, &keys[0], &["--issuer-certificate", &authority, "--response", &path(&late)]),
        "is no signed OCSP response",
    );

    // The signature of one response under the words of another, which openssl does not take either.
    let [says_good, says_revoked] = [&good_response, &revoked_response].map(|path| fs::read(path).unwrap());
    let forged = replica.site().dir().join("forged.der");
    fs::write(&forged, with_signature_of(&says_good, &says_revoked)).unwrap();
    let with_forged = verify(&late, &keys[0], &["--issuer-certificate", &authority, "--response", &path(&forged)]);
    is_refused(&with_forged, "is signed neither by the CA");
    is_refused(&verify(&late, &keys[0], &["--response", &path(&revoked_response)]), "--issuer-certificate");

    // Whose CA it is, and whose key.
    verified(&late, &keys[0], &["--issuer-certificate", &path(&cluster.ca.certificate())]);
    let stranger = Ca::new("Another");
    is_refused(&verify(&late, &keys[0], &["--issuer-certificate", &path(&stranger.certificate())]), "another CA's");
    is_refused(&verify(&late, &keys[1], &[]), "signature of the head before is wrong");
    let without = run(Command::new(&programs().precompute).arg("verify").arg(&late));
    is_refused(&without, "server list --json");
    let key_file = replica.site().dir().join("replica.key");
    fs::write(&key_file, format!("{}\n", keys[0])).unwrap();
    verified(&late, &path(&key_file), &[]);

    // Altered.
    let text = fs::read_to_string(&late).unwrap();
    let mut altered: Value = serde_json::from_str(&text).unwrap();
    let content = altered["after"]["found"]["content"].as_str().unwrap().to_owned();
    let digit = if content.ends_with('0') { "1" } else { "0" };
    altered["after"]["found"]["content"] = format!("{}{digit}", &content[..content.len() - 1]).into();
    fs::write(&late, altered.to_string()).unwrap();
    is_refused(&verify(&late, &keys[0], &[]), "proves nothing");

    // Killed, its files tell all the same; and it goes on behind its last head.
    let before = head(&cluster.replicas[0]).unwrap();
    cluster.replicas[0].kill();
    are_proven(&cluster);
    cluster.replicas[0].start();
    cluster.until_filled(0);
    let after = cluster.until("it makes heads again", SOON, || {
        head(&cluster.replicas[0]).filter(|head| head["number"].as_u64() > before["number"].as_u64())
    });
    assert_eq!(after["server"], before["server"]);
    are_proven(&cluster);
    cluster.until("nothing is missing any more", SOON, || {
        (cluster.replicas[0].feed_metric("ostia_transparency_gap", "")? == 0.0).then_some(())
    });
    let again = now();
    let told = verified(&prove(&cluster, &cluster.replicas[0], &serial, again), &keys[0], &[]);
    assert_eq!((&told["record"]["is"]["reason"], &told["missing_since"]), (&"keyCompromise".into(), &Value::Null));
    let early = cluster.replicas[0].site().precompute("prove", &[&serial, "1000000000"]);
    is_refused(&early, "nothing is kept of that time: the earliest head is of");
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_nothing_that_was_said_meanwhile_is_missing_later() {
    let cluster = keeping();
    let serial = issued(&cluster);
    let replica = &cluster.replicas[0];
    cluster.until("there is a head", SOON, || head(replica));
    // Its log takes nothing either.
    replica.limit_files(1);
    let told = cluster.until("readiness says so", SOON, || {
        replica.readiness_text("").filter(|(_, lines)| lines.contains("[transparency]"))
    });
    assert_eq!(told.0, 200, "{}", told.1);
    assert!(replica.feed_metric("ostia_transparency_failures_total", "").is_some_and(|failures| failures > 0.0));
    let hold = push(&cluster, "revoke", &serial, ",\"reason\":\"certificateHold\"", &Status::Revoked);
    let release = push(&cluster, "release", &serial, "", &Status::Good);
    replica.limit_files(u64::MAX);
    until_logged(&cluster, "what is said is kept again", || replica.log());
    let key = key_of(&cluster, replica);
    for (at, status) in [(hold.0, "good"), (hold.1, "revoked"), (release.1, "good")] {
        let told = verified(&prove(&cluster, replica, &serial, at), &key, &[]);
        assert_eq!(told["record"]["is"]["status"], status, "{told}");
    }
    cluster.until("nothing is wrong any more", SOON, || {
        replica.readiness_text("").filter(|(_, lines)| !lines.contains("[transparency]"))
    });
}

#[test]
fn a_directory_that_cannot_be_used_is_found_by_the_check_and_stops_no_replica() {
    let mut cluster = ClusterPlan::of(1, 1).set_up();
    let site = cluster.replicas[0].site();
    fs::write(site.dir().join("file"), "").unwrap();
    site.edit_config(|text| text.replacen("[http]\n", "[transparency]\ndirectory = \"file\"\n[http]\n", 1));
    let checked = site.check();
    assert!(
        checked.text.contains("transparency.directory") && checked.text.contains("is no directory"),
        "{}",
        checked.text
    );
    cluster.writers[0].start();
    cluster.until_led(SOON);
    cluster.replicas[0].start();
    cluster.until_filled(0);
    issued(&cluster);
    until_logged(&cluster, "what is said cannot be kept", || cluster.replicas[0].log());
    let head = http::get(cluster.replicas[0].site().admin, "/transparency/head");
    assert_eq!(head.status, 503, "{head:?}");
    // As metrics, it is for those who may look at the service, where that is said.
    cluster.replicas[0].reload(|text| text.replacen("[admin]\n", "[admin]\nopen_metrics = false\n", 1));
    let refused = http::get(cluster.replicas[0].site().admin, "/transparency/head");
    assert_eq!(refused.status, 401, "{refused:?}");
}
