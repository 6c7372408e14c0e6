//! Issuers and tenants that leave the configuration, get another CA certificate or another name, while the book has of them
//! what was pushed and no source says.

use std::time::Duration;

use ostia_tests::{Ask, Ca, Delegate, KeyKind, Leaf, Responder, Site, Status, Tenant, until};

use crate::pushes::{done, refused, with_api};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    stays: (Ca, Leaf),
    goes: (Ca, Leaf),
    responder: Responder,
}

fn tenant(name: &str, ca: &Ca) -> String {
    let signer = ca.delegate(Delegate::Proper, KeyKind::P256);
    let tenant = Tenant::new(name).set(&format!("path = \"/{name}\""));
    tenant.issuer("ca", ca, &format!("index = {:?}", ca.index()), &signer.lines()).text()
}

/// Two tenants, `stays` and `goes`, each with a certificate that is pushed as revoked and good in the index, and a journal.
fn world() -> World {
    let [one, other] = ["CA that stays", "CA that goes"].map(Ca::new);
    let leaves = [&one, &other].map(|ca| ca.issue());
    let site = with_api(Site::new(&[Tenant::new("x")]));
    let text = tenant("stays", &one) + &tenant("goes", &other);
    site.edit_config(|config| {
        let begin = config.find("[[tenant]]").unwrap();
        config[..begin].replacen("[admin]\n", "[journal]\npath = \"journal.jsonl\"\n[admin]\n", 1) + &text
    });
    let responder = site.start();
    for (name, leaf) in ["stays", "goes"].iter().zip(&leaves) {
        let issuer = format!("{name}:ca");
        let revoke =
            || responder.site.precompute("revoke", &["--issuer", &issuer, "--reason", "keyCompromise", &leaf.serial]);
        until("the push is taken", PATIENCE, || revoke().status.success().then_some(()));
    }
    let [first, second] = leaves;
    World { stays: (one, first), goes: (other, second), responder }
}

fn without(config: &str, tenant: &str) -> String {
    let tables = config.split("[[tenant]]").filter(|table| !table.contains(&format!("name = \"{tenant}\"")));
    tables.collect::<Vec<_>>().join("[[tenant]]")
}

fn says(responder: &Responder, (ca, leaf): &(Ca, Leaf), path: &str) -> Status {
    Ask::about(ca, leaf).at(responder.http(), path).status
}

/// The way on, as a text names it: the arguments of `forget`.
fn way_on(text: &str) -> String {
    let (_, rest) = text.split_once("ostia-precompute forget --config FILE ").unwrap_or_else(|| panic!("{text}"));
    rest.split('`').next().unwrap().to_owned()
}

/// Reloads with the file as it is, and tells what the command says.
fn reload(responder: &Responder) -> ostia_tests::Ended {
    responder.site.precompute("reload", &[])
}

#[test]
fn a_tenant_that_is_removed_with_a_push_is_refused_by_check_reload_and_start_until_it_is_said_to_be_meant() {
    let World { stays, goes, mut responder } = world();
    let before = std::fs::read_to_string(responder.site.config()).unwrap();
    responder.site.edit_config(|config| without(&config, "goes"));
    let words = ["goes/ca", "tenant `goes`", "1 pushed record, ", &goes.1.serial, "put the issuer back"];
    let told = reload(&responder);
    words.iter().for_each(|word| refused(&told, word));
    // Of what is not there any more there is a file, and no line.
    let written = format!("{}: the configuration no longer has", responder.site.config().display());
    refused(&told, &written);
    let checked = responder.site.check();
    assert!(checked.text.contains(&written), "{checked:?}");
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    words[1..].iter().for_each(|word| assert!(checked.text.contains(word), "{word}: {checked:?}"));
    assert_eq!(way_on(&told.text), way_on(&checked.text));
    assert_eq!(says(&responder, &goes, "/goes"), Status::Revoked, "nothing has changed");
    assert!(responder.end_by("TERM").success());
    let site = responder.into_site();
    let start = site.refuses_to_start();
    assert_eq!(way_on(&start), way_on(&told.text));
    assert!(start.contains(&written), "{start}");

    // It is listed, and neither who is configured nor who is unknown can be let go of.
    let issuer = way_on(&start);
    done(&site.precompute("forget", &[]), &format!("{issuer}  CA "));
    refused(&site.precompute("forget", &["0badc0de"]), "knows no such issuer");
    done(&site.precompute("forget", &[&issuer]), "may leave");
    assert!(site.check().status.success());
    let mut responder = site.start();
    assert_eq!(says(&responder, &goes, "/stays"), Status::error("unauthorized"));
    assert_eq!(says(&responder, &stays, "/stays"), Status::Revoked);
    let journal = || std::fs::read_to_string(responder.site.dir().join("journal.jsonl")).unwrap();
    let line = until("the journal has it", PATIENCE, || {
        journal().lines().find(|line| line.contains("\"type\":\"forgotten\"")).map(str::to_owned)
    });
    for part in ["\"tenant\":\"goes\"", "\"records\":1", "\"by\":\"uid:"] {
        assert!(line.contains(part), "{part}: {line}");
    }

    // Back again, it has all that was pushed, and is asked about again.
    responder.site.edit_config(|_| before);
    done(&reload(&responder), "has read it again");
    assert_eq!(says(&responder, &goes, "/goes"), Status::Revoked);
    refused(&responder.site.precompute("forget", &[&issuer]), "is an issuer of ");
    // Its CA would answer *good* under another name.
    responder.site.edit_config(|config| config.replacen("name = \"goes\"", "name = \"after\"", 1));
    let told = responder.site.precompute("forget", &[&issuer]);
    refused(&told, "under the tenant `after`");
    refused(&told, "write `formerly = \"goes\"` under `after`");
    responder.site.edit_config(|config| config.replacen("name = \"after\"", "name = \"goes\"", 1));
    responder.site.edit_config(|config| without(&config, "goes"));
    refused(&reload(&responder), "goes/ca");
    done(&responder.site.precompute("forget", &[&issuer]), "may leave");
    done(&reload(&responder), "has read it again");
    assert!(responder.end_by("TERM").success());
    responder.into_site().start();
}

#[test]
fn a_ca_that_gets_another_key_in_the_same_place_does_not_take_its_pushes_into_oblivion() {
    let World { goes, responder, stays: _stays } = world();
    // A CA of the same name: only its key, and so every certificate below, is another's.
    let anew = Ca::new("CA that goes");
    let signer = anew.delegate(Delegate::Proper, KeyKind::P256);
    let issuer = Tenant::new("goes").set("path = \"/goes\"").issuer(
        "ca",
        &anew,
        &format!("index = {:?}", anew.index()),
        &signer.lines(),
    );
    responder.site.edit_config(|config| without(&config, "goes") + &issuer.text());
    let told = reload(&responder);
    refused(&told, "a CA with another key or name is another issuer");
    refused(&told, "1 pushed record");
    assert_eq!(says(&responder, &goes, "/goes"), Status::Revoked);
    // Both may stand beside each other.
    let old = goes.0.delegate(Delegate::Proper, KeyKind::P256);
    let both = issuer.issuer("before", &goes.0, &format!("index = {:?}", goes.0.index()), &old.lines());
    responder.site.edit_config(|config| without(&config, "goes") + &both.text());
    done(&reload(&responder), "has read it again");
    assert_eq!(says(&responder, &goes, "/goes"), Status::Revoked);
}

#[test]
fn a_tenant_with_another_name_keeps_its_pushes_where_it_states_its_former_one() {
    let World { stays, goes, mut responder } = world();
    let held = goes.0.issue();
    let hold = ["--issuer", "goes:ca", "--reason", "certificateHold", &held.serial];
    until("the hold is taken", PATIENCE, || responder.site.precompute("revoke", &hold).status.success().then_some(()));
    let rename = |config: String| config.replacen("name = \"goes\"", "name = \"after\"", 1);
    responder.site.edit_config(rename);
    let told = reload(&responder);
    refused(&told, "write `formerly = \"goes\"` under its new one");
    refused(&told, "2 of its revocations and pushes");
    // The tenant that would forget them is where something has to be written.
    let text = std::fs::read_to_string(responder.site.config()).unwrap();
    let before = text.split("name = \"after\"").next().unwrap().rsplit_once("[[tenant]]").unwrap().0;
    let written = format!("{}:{}: after/ca: ", responder.site.config().display(), before.lines().count() + 1);
    refused(&told, &written);
    let checked = responder.site.check();
    assert!(checked.text.contains(&written), "{checked:?}");
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    assert!(checked.text.contains("2 of its revocations and pushes"), "{checked:?}");
    let state = |config: String| config.replacen("name = \"after\"", "name = \"after\"\nformerly = \"goes\"", 1);
    responder.site.edit_config(state);
    let checked = responder.site.check();
    assert!(checked.status.success(), "{checked:?}");
    done(&reload(&responder), "has read it again");
    assert_eq!(says(&responder, &goes, "/goes"), Status::Revoked);
    // The key may go then, and the records stay.
    responder.site.edit_config(|config| config.replacen("formerly = \"goes\"\n", "", 1));
    done(&reload(&responder), "has read it again");
    assert!(responder.end_by("TERM").success());
    let responder = responder.into_site().start();
    assert_eq!(says(&responder, &goes, "/goes"), Status::Revoked);
    assert_eq!(says(&responder, &stays, "/stays"), Status::Revoked);
    done(&responder.site.precompute("status", &["--issuer", "after:ca", &goes.1.serial]), "push");
    // A name has one place.
    responder
        .site
        .edit_config(|config| config.replacen("name = \"after\"", "name = \"after\"\nformerly = \"stays\"", 1));
    refused(&reload(&responder), "which is the name of another tenant now");
}
