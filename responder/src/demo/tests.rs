//! A demo made by the real `openssl`, found again, moved and disturbed.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use super::{text::quoted, *};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn prepare_in(dir: &Path) -> Result<Demo, DemoError> {
    prepare(dir, address("127.0.0.1:8080"), address("127.0.0.1:9090"), &mut |_| {})
}

fn bash(command: &str) -> String {
    let output = Command::new("bash").args(["-o", "pipefail", "-c", command]).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command}: {text}");
    text
}

fn commands(instructions: &str) -> Vec<&str> {
    instructions.lines().filter_map(|line| line.strip_prefix("    ")).collect()
}

/// Each part refused its configuration, and was started again for ever.
#[test]
fn a_cluster_whose_admin_listeners_could_be_reached_from_elsewhere_is_refused_before_anything_is_made() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("demo");
    let refused = |admin: &str| cluster::run(&dir, address("127.0.0.1:8080"), address(admin)).unwrap_err().to_string();
    for admin in ["0.0.0.0:9090", "[::]:9090", "192.0.2.1:9090", "[::ffff:192.0.2.1]:9090"] {
        let told = refused(admin);
        assert!(told.contains(admin) && told.contains("--admin, such as 127.0.0.1:9090"), "{told}");
    }
    // It is no matter of the address alone.
    assert!(refused("127.0.0.1:65530").contains("choose a lower one"));
    assert!(!dir.exists());
}

#[test]
fn makes_a_complete_ca_then_reuses_it_and_follows_it_when_moved() {
    let scratch = tempfile::tempdir().unwrap();
    // Everything that shells and OpenSSL's configuration treat as special.
    let dir = scratch.path().join(r##"it's $HOME #1 "quo\ted"; `x`"##);
    let demo = prepare_in(&dir).unwrap();
    assert!(demo.fresh);
    assert_eq!((demo.good_count, demo.revoked_count, demo.expired_count), (274, 31, 8));
    assert_eq!(demo.aia_url, "http://127.0.0.1:8080/");
    assert_eq!(demo.asked, dir.join("good.pem"));
    let here = quoted(dir.to_str().unwrap()).into_owned();
    for key in ["ca.key", "good.key", "ocsp.key", "tsa.key"] {
        assert_eq!(fs::metadata(dir.join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
    }
    let check = |certificate: &str, purpose: &str| {
        bash(&format!("cd {here} && openssl verify -CAfile ca.pem -purpose {purpose} {certificate}"))
    };
    check("good.pem", "sslserver");
    check("revoked.pem", "sslserver");
    check("ocsp.pem", "ocsphelper");
    check("tsa.pem", "timestampsign");
    let text = bash(&format!("cd {here} && openssl x509 -noout -text -in ocsp.pem"));
    for wanted in ["OCSP Signing", "OCSP No Check", "prime256v1", "CA:FALSE"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let text = bash(&format!("cd {here} && openssl x509 -noout -text -in good.pem"));
    for wanted in ["DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1", "CA:FALSE"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left beside it");

    let again = prepare_in(&dir).unwrap();
    assert!(!again.fresh);
    assert_eq!((again.good_count, again.revoked_count), (demo.good_count, demo.revoked_count));

    let moved = scratch.path().join("moved");
    fs::rename(&dir, &moved).unwrap();
    let mut said = Vec::new();
    let other = address("127.0.0.1:8081");
    let demo = prepare(&moved, other, address("127.0.0.1:9090"), &mut |line| said.push(line.to_owned())).unwrap();
    assert!(said.iter().any(|line| line.contains("openssl.cnf")), "{said:?}");
    let text = instructions(&demo, other, address("[::]:9090"));
    assert!(text.contains("still names http://127.0.0.1:8080/"), "{text}");
    assert!(text.contains("curl -sS http://[::1]:9090/metrics"), "{text}");
    let commands = commands(&text);
    let revoke = commands.iter().find(|command| command.starts_with("openssl ca ")).unwrap();
    let said = bash(revoke);
    assert!(said.contains("Revoking Certificate"), "{said}");
    let demo = prepare_in(&moved).unwrap();
    assert_eq!(demo.revoked_count, 32);
    assert!(demo.asked.starts_with(moved.join("newcerts")), "another certificate is asked for");
    let text = instructions(&demo, other, address("127.0.0.1:9090"));
    assert!(text.contains("good.pem is no longer good"), "{text}");
}

#[test]
fn the_request_in_the_get_command_is_one_that_openssl_reads() {
    let scratch = tempfile::tempdir().unwrap();
    let demo = prepare_in(&scratch.path().join("a demo")).unwrap();
    let text = instructions(&demo, address("127.0.0.1:8080"), address("127.0.0.1:9090"));
    let commands = commands(&text);
    assert_eq!(commands.len(), 11, "{text}");
    let get = commands.iter().find(|command| command.contains("-reqout")).unwrap();
    // What curl would fetch: the text between the quotes, expanded by the shell.
    let url = get.split('"').nth(1).unwrap();
    let url = bash(&format!("echo \"{url}\""));
    let encoded = url.trim().strip_prefix("http://127.0.0.1:8080/").unwrap();
    assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'%'), "{encoded}");
    let base64 = encoded.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let read = bash(&format!("echo {base64} | base64 -d | openssl ocsp -reqin - -req_text"));
    assert!(read.contains("Serial Number"), "{read}");
    assert!(!read.contains("Nonce"), "{read}");
}

#[test]
fn leaves_a_directory_alone_that_is_not_a_demo() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("thesis.tex"), "").unwrap();
    let error = prepare_in(scratch.path()).unwrap_err().to_string();
    assert!(error.contains("not empty") && error.contains("--dir"), "{error}");
    let error = prepare_in(&scratch.path().join("thesis.tex")).unwrap_err().to_string();
    assert!(error.contains("not a directory") && error.contains("--dir"), "{error}");
    fs::write(scratch.path().join(MARKER), "").unwrap();
    let error = prepare_in(scratch.path()).unwrap_err().to_string();
    assert!(error.contains("lacks ca.pem"), "{error}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

#[test]
fn says_what_to_install_when_openssl_is_missing_and_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let (http, dir) = (address("127.0.0.1:8080"), scratch.path().join("demo"));
    let error = prepare_with(OsStr::new("/nowhere/openssl"), &dir, http, http, &mut |_| {}).unwrap_err();
    assert!(matches!(error, DemoError::NoOpenssl));
    assert!(error.to_string().contains("install"), "{error}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_failed_command_is_named_with_what_it_said_and_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let (http, dir) = (address("127.0.0.1:8080"), scratch.path().join("demo"));
    let program = scratch.path().join("openssl");
    fs::write(&program, "#!/bin/sh\necho 'no room in the universe' >&2\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let error = prepare_with(program.as_os_str(), &dir, http, http, &mut |_| {}).unwrap_err().to_string();
    for wanted in ["openssl genpkey", "ca.key", "exit status: 3", "no room in the universe", ".demo.partial"] {
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
    assert!(!dir.exists() && !scratch.path().join(".demo.partial").exists());
}

#[test]
fn what_a_killed_set_up_left_is_replaced_and_an_empty_directory_taken() {
    let scratch = tempfile::tempdir().unwrap();
    let left = scratch.path().join(".demo.partial");
    fs::create_dir_all(left.join("newcerts")).unwrap();
    fs::write(left.join("ca.key"), "half a key").unwrap();
    fs::create_dir(scratch.path().join("demo")).unwrap();
    assert!(prepare_in(&scratch.path().join("demo")).unwrap().fresh);
    assert!(!left.exists());
}

#[test]
fn two_set_ups_of_one_directory_do_not_mix() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("demo");
    let _first = Partial::begin(&dir, scratch.path().join(".demo.partial")).unwrap();
    let error = prepare_in(&dir).unwrap_err().to_string();
    assert!(error.contains("being set up"), "{error}");
}
