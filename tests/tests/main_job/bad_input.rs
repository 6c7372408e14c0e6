//! What is refused at start: each with the thing, the place and the remedy named, and a non-zero exit.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Signer, Site, Status, Tenant, Tsa, TsaCertificate, programs, run, until,
};

use crate::ca_and_site;

fn line_of(config: &Path, wanted: &str) -> String {
    let text = fs::read_to_string(config).unwrap();
    let line = text.lines().position(|line| line.starts_with(wanted)).unwrap();
    format!("{}:{}:", config.display(), line + 1)
}

fn ca_with_signer() -> (Ca, Signer) {
    let ca = Ca::new("CA");
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    (ca, signer)
}

#[test]
fn a_proper_configuration_passes_the_check() {
    let (_ca, site) = ca_and_site();
    let checked = site.check();
    assert!(checked.status.success(), "{checked:?}");
    assert!(!site.dir().join("state").exists(), "a check leaves nothing behind");
}

/// A check said that everything was in order.
#[test]
fn a_state_directory_that_cannot_be_made_or_written_is_refused_by_a_check_too() {
    let (_ca, site) = ca_and_site();
    fs::write(site.dir().join("file"), "").unwrap();
    fs::create_dir_all(site.dir().join("taken/book.redb")).unwrap();
    let set =
        |state: &str| site.edit_config(|text| text.replacen("state_dir = ", &format!("state_dir = {state:?} # "), 1));
    for state in ["file", "file/state", "taken"] {
        set(state);
        let place = site.dir().join(state);
        let remedy = if state == "taken" { "move" } else { "create the directory and give it to the user" };
        site.is_refused(&[place.to_str().unwrap(), remedy]);
        assert!(!site.dir().join("state").exists());
    }
    // Mended without the file being changed, so that a unit starts it again.
    assert_eq!(site.check().status.code(), Some(1));
    fs::remove_dir(site.dir().join("taken/book.redb")).unwrap();
    assert!(site.check().status.success());

    // By a user who may not write there.
    fs::create_dir(site.dir().join("closed")).unwrap();
    fs::set_permissions(site.dir().join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    for state in ["closed", "closed/state"] {
        set(state);
        let mut check = Command::new("setpriv");
        check.args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]);
        let ended = run(check.arg(&programs().responder).args(["check", "--config"]).arg(site.config()));
        let wanted = [":2: state_dir: ", "/closed", "Permission denied", "set `state_dir`"];
        assert!(!ended.status.success() && wanted.iter().all(|wanted| ended.text.contains(wanted)), "{ended:?}");
    }
}

#[test]
fn where_tokens_are_in_order_a_directory_in_the_place_of_their_note_is_refused_by_a_check_too() {
    let ca = Ca::new("Time-stamping CA");
    let policy = "ordering = true\nsole_instance = true\nprecision = \"microseconds\"";
    let tsa = Tsa::of("stamps", &ca.tsa(TsaCertificate::Proper, KeyKind::P256)).set(policy);
    let site = Site::new(&[Tenant::new("tests").tsa(&tsa)]);
    for name in ["state/ordering", "state/ordering.new"] {
        let place = site.dir().join(name);
        let _ = fs::remove_dir_all(site.dir().join("state"));
        fs::create_dir_all(&place).unwrap();
        site.is_refused(&["state/ordering", "no directory by the name"]);
        // Nobody needs it where there is no order.
        site.edit_config(|text| text.replace("ordering = true", "ordering = false"));
        assert!(site.check().status.success());
        site.edit_config(|text| text.replace("ordering = false", "ordering = true"));
        fs::remove_dir(&place).unwrap();
    }
    assert!(site.check().status.success());
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    for command in ["serve", "check"] {
        let ended = run(Command::new(&programs().responder).args([command, "--config", "/nowhere/ostia.toml"]));
        assert!(!ended.status.success());
        assert!(ended.text.contains("/nowhere/ostia.toml"), "{}", ended.text);
    }
}

#[test]
fn a_key_that_cannot_be_read_is_named() {
    let (ca, signer) = ca_with_signer();
    fs::remove_file(&signer.key).unwrap();
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    site.is_refused(&[signer.key.to_str().unwrap(), "signer.key", &line_of(&site.config(), "key =")]);
    fs::write(&signer.key, "this is no key\n").unwrap();
    fs::set_permissions(&signer.key, fs::Permissions::from_mode(0o600)).unwrap();
    site.is_refused(&[signer.key.to_str().unwrap(), "PEM"]);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (ca, signer) = ca_with_signer();
    fs::set_permissions(&signer.key, fs::Permissions::from_mode(0o644)).unwrap();
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    site.is_refused(&[signer.key.to_str().unwrap(), "0644", "chmod 600"]);
    fs::set_permissions(&signer.key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(site.check().status.success());
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let (ca, signer) = ca_with_signer();
    let other = ca.delegate(Delegate::Proper, KeyKind::P256);
    let mixed = Signer { key: other.key, ..signer };
    let site = Site::new(&[Tenant::of(&ca, &mixed)]);
    site.is_refused(&[&site.config().display().to_string(), "does not belong to the private key", "signer"]);
    // And as the CA's own key, with no certificate beside it.
    let sources = format!("index = {:?}", ca.index());
    let site = Site::new(&[Tenant::new("t").issuer("ca", &ca, &sources, &format!("key = {:?}", mixed.key))]);
    site.is_refused(&["does not belong to the private key", &line_of(&site.config(), "key =")]);
}

#[test]
fn a_delegate_whose_time_is_over_is_refused() {
    let ca = Ca::new("CA");
    let site = Site::new(&[Tenant::of(&ca, &ca.delegate(Delegate::Expired, KeyKind::P256))]);
    site.is_refused(&["2024-02-01", "renew", "signer.certificate"]);
}

#[test]
fn a_delegate_of_another_ca_is_refused() {
    let (ca, other) = (Ca::new("CA"), Ca::new("Another CA"));
    let site = Site::new(&[Tenant::of(&ca, &other.delegate(Delegate::Proper, KeyKind::P256))]);
    site.is_refused(&["not a delegate of this issuer", "signer.certificate"]);
    // The same name is not enough: the signature must verify.
    let namesake = Ca::new("CA");
    let site = Site::new(&[Tenant::of(&ca, &namesake.delegate(Delegate::Proper, KeyKind::P256))]);
    site.is_refused(&["not a delegate of this issuer", "signer.certificate"]);
}

#[test]
fn a_delegate_without_the_ocsp_signing_usage_is_refused() {
    let ca = Ca::new("CA");
    let site = Site::new(&[Tenant::of(&ca, &ca.delegate(Delegate::NoEku, KeyKind::P256))]);
    site.is_refused(&["OCSPSigning", "signer.certificate"]);
}

#[test]
fn an_issuer_that_is_no_ca_certificate_is_refused() {
    let (ca, signer) = ca_with_signer();
    let (site, leaf) = (Site::new(&[Tenant::of(&ca, &signer)]), ca.issue());
    let (certificate, leaf) = (format!("{:?}", ca.certificate()), format!("{:?}", leaf.path));
    site.edit_config(|config| config.replacen(&certificate, &leaf, 1));
    site.is_refused(&["issuer.certificate", "basicConstraints"]);
    site.edit_config(|config| config.replacen(&leaf, "\"gone.pem\"", 1));
    site.is_refused(&["gone.pem", "issuer.certificate"]);
}

#[test]
fn all_mistakes_of_a_configuration_are_told_at_once_with_file_line_and_key() {
    let (_ca, site) = ca_and_site();
    site.edit_config(|config| {
        config
            .replace("version = 1", "version = 1\nlogg_level = \"info\"")
            .replace("name = \"tests\"", "name = \"tests\"\nvalidity = \"4 fortnights\"\nunlisted = \"perhaps\"")
            .replace("index =", "indexx =")
    });
    let place = |wanted: &str| line_of(&site.config(), wanted);
    let (level, validity, unlisted, index) =
        (place("logg_level"), place("validity"), place("unlisted"), place("indexx"));
    site.is_refused(&[&level, "logg_level", &validity, "4 fortnights", &unlisted, "unauthorized", &index, "indexx"]);
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let (_ca, site) = ca_and_site();
    site.edit_config(|config| config.replace("[admin]", "[admin"));
    site.is_refused(&[&line_of(&site.config(), "[admin")]);
}

#[test]
fn unlisted_as_good_has_to_be_meant() {
    let (ca, signer) = ca_with_signer();
    let site = Site::new(&[Tenant::of(&ca, &signer).set("unlisted = \"good\"")]);
    site.is_refused(&["accept_unlisted_as_good"]);
}

#[test]
fn a_busy_port_is_named_with_a_remedy() {
    let (_ca, site) = ca_and_site();
    for address in [site.http, site.admin] {
        let busy = TcpListener::bind(address).unwrap();
        let said = site.refuses_to_start();
        assert!(said.contains(&address.to_string()) && said.contains("choose another"), "{said}");
        drop(busy);
    }
}

#[test]
fn a_broken_index_line_at_start_is_named() {
    let (ca, site) = ca_and_site();
    ca.issue();
    let index = fs::read_to_string(ca.index()).unwrap();
    ca.replace_index(&format!("{index}V\tsoon\t\t10\tunknown\t/CN=x\n"));
    let said = site.refuses_to_start();
    let place = format!("{}:{}:", ca.index().display(), index.lines().count() + 1);
    assert!(said.contains(&place), "no {place} in {said}");
    ca.replace_index(&format!("{index}{index}"));
    let said = site.refuses_to_start();
    assert!(said.contains("second time"), "{said}");
    ca.replace_index(&index);
    site.start();
}

/// A shell that starts the responder with files of at most so many KiB, which fails as a full disk does.
fn limited(site: &Site, kibibytes: u32) -> Command {
    let mut command = Command::new("bash");
    let serve = site.serve();
    command.args(["-c", &format!("ulimit -f {kibibytes}; exec \"$@\""), "bash"]);
    command.arg(serve.get_program()).args(serve.get_args());
    command
}

#[test]
fn a_full_disk_under_the_book_is_told_at_start() {
    let (ca, site) = ca_and_site();
    ca.issue();
    let mut command = Command::new("timeout");
    let limited = limited(&site, 4);
    command.args(["-s", "KILL", "20"]).arg(limited.get_program()).args(limited.get_args());
    let ended = run(&mut command);
    assert!(ended.status.code().is_some_and(|code| code != 0 && code < 100), "{ended:?}");
    assert!(ended.text.contains("book.redb"), "{}", ended.text);
}

#[test]
fn a_disk_that_fills_up_while_it_runs_keeps_answers_right_and_is_told() {
    let (ca, site) = ca_and_site();
    let leaf = ca.issue();
    let responder = site.start();
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);

    // No file may grow from here on; the log is shorter than that by far.
    // The soft limit alone: a process that is not root could not raise the hard one again.
    let limit = format!("--fsize={}:unlimited", 16 << 10);
    let limit_files = |limit: &str| {
        let ended = run(Command::new("prlimit").args(["--pid", &responder.pid().to_string(), limit]));
        assert!(ended.status.success(), "{ended:?}");
    };
    limit_files(&limit);
    ca.revoke(&leaf, &["-crl_reason", "keyCompromise"]);
    let patience = std::time::Duration::from_secs(20);
    until("the book's trouble is in the log", patience, || responder.log().contains("book.redb").then_some(()));
    until("and in the metrics", patience, || (responder.metric("ostia_book_faulty", "") == 1.0).then_some(()));
    // The source said revoked, so revoked it is, written down or not.
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Revoked);

    // Room again: it is written without anybody's doing, and survives.
    limit_files("--fsize=unlimited:unlimited");
    until("the fault is over", patience, || (responder.metric("ostia_book_faulty", "") == 0.0).then_some(()));
    let mut responder = responder;
    responder.end_by("KILL");
    let shown = responder.into_site().precompute("show", &[&leaf.serial]);
    assert!(shown.text.contains("revoked") && shown.text.contains("keyCompromise"), "{shown:?}");
}
