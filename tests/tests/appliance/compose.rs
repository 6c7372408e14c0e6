//! `compose.yaml`, as far as it goes without an engine: its form, its CA, and the configurations that it names.

use std::{fs, process::Command};

use ostia_tests::{Ended, programs, run};

use crate::machine::project;

/// What Compose says of the file, changed.
fn judged(change: impl Fn(String) -> String) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(project().join("systemd/compose.yaml")).unwrap();
    fs::write(dir.path().join("compose.yaml"), change(text)).unwrap();
    run(Command::new("docker-compose").args(["config", "--quiet"]).current_dir(dir.path()))
}

#[test]
fn compose_understands_its_file() {
    let ended = judged(|text| text);
    assert!(ended.status.success(), "{ended:?}");
    // And would say so if it did not.
    for (right, wrong) in [("read_only: true", "read_onli: true"), ("replica-3:/var/lib", "replica-4:/var/lib")] {
        assert!(!judged(|text| text.replace(right, wrong)).status.success(), "{wrong}");
    }
}

#[test]
fn prometheus_takes_its_configuration_of_the_demo_with_the_rules() {
    let (dir, systemd) = (tempfile::tempdir().unwrap(), project().join("systemd"));
    for file in ["compose/prometheus.yml", "prometheus/ostia-rules.yml"] {
        let file = systemd.join(file);
        fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    let checked = run(Command::new("promtool").args(["check", "config", "prometheus.yml"]).current_dir(dir.path()));
    assert!(checked.status.success() && checked.text.contains("1 rule files found"), "{checked:?}");
}

#[test]
fn the_configurations_of_the_demo_are_taken_with_the_ca_that_it_makes() {
    let dir = tempfile::tempdir().unwrap();
    let (etc, compose) = (dir.path().join("etc"), project().join("systemd/compose"));
    fs::create_dir(&etc).unwrap();
    let ca = |arguments: &[&str]| {
        let ended = run(Command::new("sh").arg(compose.join("ca")).args(arguments).env("OSTIA_ETC", &etc));
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    };
    ca(&["make"]);
    let certificate = fs::read(etc.join("ca/ca.pem")).unwrap();
    // It makes no other CA when everything is started again.
    ca(&["make"]);
    assert_eq!(fs::read(etc.join("ca/ca.pem")).unwrap(), certificate);
    for (program, file, said) in [
        (&programs().precompute, "writer-1.toml", "3 certificates"),
        (&programs().precompute, "writer-2.toml", "3 certificates"),
        (&programs().responder, "replica.toml", "a replica of the feed"),
    ] {
        let text = fs::read_to_string(compose.join(file)).unwrap();
        let text = text.replace("/etc/ostia", etc.to_str().unwrap());
        let config = etc.join(file);
        fs::write(&config, text.replace("/var/lib/ostia", dir.path().join("state").to_str().unwrap())).unwrap();
        // Its Redis and its writers are not here, which is a warning.
        let checked = run(Command::new(program).args(["check", "--config"]).arg(&config));
        assert!(checked.status.success() && checked.text.contains(said), "{file}: {checked:?}");
    }
    ca(&["issue", "three"]);
    ca(&["revoke", "one"]);
    let index = fs::read_to_string(etc.join("ca/index.txt")).unwrap();
    assert_eq!(index.lines().filter(|line| line.starts_with('V')).count(), 3, "{index}");
    assert_eq!(index.lines().filter(|line| line.starts_with('R') && line.contains("superseded")).count(), 1, "{index}");
}
