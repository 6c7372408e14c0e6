//! The identity of a server: made once, bound to its directory and machine, and given anew on demand only.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use ostia_tests::{Ended, Responder, Site, programs, run};

use crate::ca_and_site;

fn server(site: &Site, command: &str) -> Ended {
    run(Command::new(&programs().precompute).args(["server", command, "--config"]).arg(site.config()))
}

/// The label of `ostia_server_info`.
fn told(running: &Responder) -> String {
    let metrics = running.metrics();
    let line =
        metrics.lines().find(|line| line.starts_with("ostia_server_info{")).unwrap_or_else(|| panic!("{metrics}"));
    line.split('"').nth(1).unwrap().to_owned()
}

fn id_file(site: &Site) -> PathBuf {
    site.dir().join("state/server_id")
}

/// Ends it, and gives its site.
fn ended(mut running: Responder) -> Site {
    assert!(running.end_by("TERM").success(), "{}", running.log());
    running.into_site()
}

#[test]
fn a_copied_state_directory_is_refused_until_somebody_says_that_it_is_another_server() {
    let (_ca, site) = ca_and_site();
    let none = server(&site, "show");
    assert!(!none.status.success() && none.text.contains("the first start makes it"), "{none:?}");
    let running = site.start();
    let id = told(&running);
    let site = ended(running);
    assert_eq!(fs::metadata(id_file(&site)).unwrap().permissions().mode() & 0o7777, 0o600);
    let shown = server(&site, "show");
    assert!(shown.status.success() && shown.text.contains(&id) && shown.text.contains("made here"), "{shown:?}");

    // Renamed, it is the same.
    let (state, moved, copy) = (site.dir().join("state"), site.dir().join("moved"), site.dir().join("copy"));
    fs::rename(&state, &moved).unwrap();
    fs::rename(&moved, &state).unwrap();
    assert!(run(Command::new("cp").args(["-a"]).args([&state, &copy])).status.success());
    let running = site.start();
    assert_eq!(told(&running), id);
    let site = ended(running);

    // A copy, as a backup that is restored.
    fs::rename(&copy, &moved).unwrap();
    site.edit_config(|text| text.replace("\"state\"", "\"moved\""));
    let said = site.refuses_to_start();
    let host = run(Command::new("uname").args(["-n"])).text.trim().to_owned();
    for wanted in
        [&*id, "of another server", &format!("on the machine `{host}`"), &format!("on `{host}`"), "server adopt"]
    {
        assert!(said.contains(wanted), "no {wanted}: {said}");
    }
    let checked = site.check_with(&["--strict"]);
    assert!(checked.status.code() == Some(3) && checked.text.contains("server adopt"), "{checked:?}");
    for command in ["sync", "presign"] {
        let refused = site.precompute(command, &[]);
        assert!(!refused.status.success() && refused.text.contains("server adopt"), "{refused:?}");
    }
    assert!(server(&site, "show").text.contains("a start is refused"));
    let adopted = server(&site, "adopt");
    assert!(adopted.status.success() && adopted.text.contains(&format!("in place of {id} of `{host}`")), "{adopted:?}");
    let running = site.start();
    let new = told(&running);
    assert!(new != id && adopted.text.contains(&new), "{adopted:?}");
    // Not while it runs.
    let refused = server(&running.site, "adopt");
    assert!(!refused.status.success() && refused.text.contains("`ostia-responder serve`"), "{refused:?}");
}

#[test]
fn an_identity_that_is_lost_is_made_anew_and_one_that_is_damaged_never_is() {
    let (_ca, site) = ca_and_site();
    let running = site.start();
    let id = told(&running);
    let site = ended(running);
    fs::remove_file(id_file(&site)).unwrap();
    // As after a kill while it was made.
    fs::write(site.dir().join("state/server_id.new"), "id 12").unwrap();
    let running = site.start();
    assert_ne!(told(&running), id);
    let site = ended(running);
    let whole = fs::read_to_string(id_file(&site)).unwrap();
    for damaged in ["", &whole[..20], &whole.replace("bound ", "bound")] {
        fs::write(id_file(&site), damaged).unwrap();
        let said = site.refuses_to_start();
        assert!(said.contains("state/server_id: is damaged") && said.contains("server adopt"), "{said}");
        assert_eq!(fs::read_to_string(id_file(&site)).unwrap(), damaged);
    }
    let adopted = server(&site, "adopt");
    assert!(adopted.status.success() && adopted.text.contains("damaged"), "{adopted:?}");
    site.start();
}
