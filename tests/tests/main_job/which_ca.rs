//! The page on CAs, precompute/which-ca.md: each configuration, copied from it, answers for a CA that keeps what that CA keeps.
//!
//! OpenBao, PostgreSQL and the web servers are real. AD CS, EJBCA and step-ca do not run here: their CRLs, lists and
//! tables are made in their form. Only addresses are replaced.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use ostia_tests::{
    Ask, Ca, DatabaseKind, DatabaseServer, Launched, Leaf, Nginx, Responder, SoftHsm, Status, bash, free_port, openbao,
    openssl, until,
};

use crate::{
    fetching::certify,
    readme::{Bench, blocks_of, page},
};

const PAGE: &str = "precompute/which-ca.md";
const PATIENCE: Duration = Duration::from_secs(60);
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The blocks of a section in one language.
fn blocks(section: &str, language: &str) -> Vec<String> {
    let blocks = blocks_of(&page(PAGE), section).into_iter();
    blocks.filter(|(kind, _)| kind == language).map(|(_, text)| text).collect()
}

/// The first words of the page: a key, and a request for the signer's certificate.
fn request() -> String {
    let text = page(PAGE);
    text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// A directory with the request, and with the certificate that the CA has made of it.
fn bench_with_signer(ca: &Ca, certificate: &str) -> Bench {
    let bench = Bench::new();
    bench.run(&request());
    fs::copy(bench.dir().join("ocsp.csr"), ca.file("ocsp.csr")).unwrap();
    let sign = ["ca", "-config", "openssl.cnf", "-batch", "-notext", "-in", "ocsp.csr", "-out", "ocsp.pem"];
    openssl(ca.dir(), [&sign[..], &["-extensions", "ocsp_signer"]].concat());
    fs::copy(ca.file("ocsp.pem"), bench.dir().join("ocsp.pem")).unwrap();
    fs::copy(ca.certificate(), bench.dir().join(certificate)).unwrap();
    bench
}

#[track_caller]
fn becomes(responder: &Responder, ca: &Ca, serial: &str, wanted: &Status) {
    let said = || Ask::serial(ca, serial).at(responder.http(), "/").status;
    until(&format!("{serial} is {wanted:?}"), PATIENCE, || (said() == *wanted).then_some(()));
}

fn listens(address: SocketAddr) {
    until("it listens", PATIENCE, || std::net::TcpStream::connect(address).ok());
}

/// As AD CS has it: a base CRL that names its delta and has Microsoft's extensions, and a list of serial numbers in UTF-16.
#[test]
fn ad_cs_is_answered_for_by_its_crls_and_its_list() {
    let ca = Ca::new("Example CA");
    let (good, revoked, held) = (ca.issue(), ca.issue(), ca.issue());
    let bench = bench_with_signer(&ca, "ca.cer");
    openssl(ca.dir(), ["x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der"]);
    fs::copy(ca.file("ca.der"), bench.dir().join("ca.cer")).unwrap();

    let (web, address) = (bench.dir().join("web"), free_port(LOCAL));
    fs::create_dir_all(web.join("www/CertEnroll")).unwrap();
    let publish = |extensions: &str, name: &str| {
        let microsoft = "1.3.6.1.4.1.311.21.1 = DER:020100\n1.3.6.1.4.1.311.21.4 = ASN1:UTCTIME:351231000000Z\n";
        let own = format!("[ microsoft ]\nauthorityKeyIdentifier = keyid\n{microsoft}{extensions}\n");
        fs::write(ca.file("microsoft.cnf"), fs::read_to_string(ca.file("openssl.cnf")).unwrap() + &own).unwrap();
        openssl(ca.dir(), ["ca", "-config", "microsoft.cnf", "-gencrl", "-crlexts", "microsoft", "-out", "crl.pem"]);
        openssl(ca.dir(), ["crl", "-in", "crl.pem", "-outform", "DER", "-out", "crl.der"]);
        fs::copy(ca.file("crl.der"), web.join("www/CertEnroll").join(name)).unwrap();
    };
    ca.revoke(&revoked, &["-crl_reason", "keyCompromise"]);
    publish(&format!("freshestCRL = URI:http://{address}/CertEnroll/Example%20CA+.crl"), "Example CA.crl");
    ca.revoke(&held, &["-crl_reason", "certificateHold"]);
    publish("deltaCRL = critical, ASN1:INTEGER:1", "Example CA+.crl");
    let _nginx = Nginx::with(&web, &format!("server {{ listen {address}; root {}/www; }}", web.display()));
    listens(address);

    let list = format!("\u{feff}\"Serial Number\"\r\n\"{}\"\r\n", good.serial.to_lowercase());
    let list: Vec<u8> = list.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(bench.dir().join("issued.csv"), list).unwrap();

    let [config] = &blocks("## AD CS", "toml")[..] else { panic!("one configuration") };
    let (responder, _) = bench.serve(&config.replace("pki.example", &address.to_string()), "");
    for (leaf, status) in [(&good, Status::Good), (&revoked, Status::Revoked), (&held, Status::Revoked)] {
        Ask::about(&ca, leaf).at(responder.http(), "/").expect(status);
    }
    Ask::serial(&ca, "5A5A").at(responder.http(), "/").expect(Status::error("unauthorized"));
}

#[test]
fn ejbca_is_answered_for_by_its_database() {
    let (ca, database) = (Ca::new("EJBCA"), DatabaseServer::start(DatabaseKind::Postgres));
    let leaf = ca.issue();
    database.create_certificate_data();
    // What the page says does it again.
    database.sql("DROP INDEX ostia; REVOKE ALL ON CertificateData FROM ostia");
    blocks("## EJBCA", "sql").iter().for_each(|sql| drop(database.sql(sql)));
    database.add(&ca, &leaf);
    let bench = bench_with_signer(&ca, "ca.pem");
    database.write_password(&bench.dir().join("db.password"));

    let [config] = &blocks("## EJBCA", "toml")[..] else { panic!("one configuration") };
    let (responder, _) = bench.serve(&at_database(config, &database), "");
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    Ask::serial(&ca, "5A5A").at(responder.http(), "/").expect(Status::error("unauthorized"));
    database.set(&leaf, 40, 1);
    becomes(&responder, &ca, &leaf.serial, &Status::Revoked);
}

fn at_database(config: &str, database: &DatabaseServer) -> String {
    config.replace("db.example:5432", &format!("127.0.0.1:{}", database.port()))
}

/// The tables of step-ca: serial numbers in decimal and certificates, and revocations as JSON.
#[test]
fn step_ca_is_answered_for_by_its_database() {
    let (ca, database) = (Ca::new("step-ca"), DatabaseServer::start(DatabaseKind::Postgres));
    let (leaf, revoked) = (ca.issue(), ca.issue());
    let decimal = |leaf: &Leaf| u128::from_str_radix(&leaf.serial, 16).unwrap().to_string();
    database.sql("CREATE DATABASE stepca");
    let sql = |sql: &str| database.sql_in("stepca", sql);
    for table in ["x509_certs", "revoked_x509_certs"] {
        sql(&format!(
            "CREATE TABLE {table} (nkey BYTEA CHECK (octet_length(nkey) <= 255), nvalue BYTEA, PRIMARY KEY (nkey))"
        ));
    }
    let revoke = |leaf: &Leaf| {
        let serial = decimal(leaf);
        let told = format!(
            r#"{{"Serial":"{serial}","ProvisionerID":"acme","ReasonCode":1,"Reason":"lost","RevokedAt":"2026-11-29T08:30:00.123456789Z","TokenID":"","MTLS":true,"ACME":false}}"#
        );
        sql(&format!("INSERT INTO revoked_x509_certs VALUES ('{serial}', '{told}')"));
    };
    for leaf in [&leaf, &revoked] {
        sql(&format!("INSERT INTO x509_certs VALUES ('{}', '\\x3003')", decimal(leaf)));
    }
    revoke(&revoked);
    blocks("## step-ca", "sql").iter().for_each(|text| drop(sql(text)));
    let bench = bench_with_signer(&ca, "intermediate_ca.crt");
    database.write_password(&bench.dir().join("db.password"));

    let [config, _] = &blocks("## step-ca", "toml")[..] else { panic!("two configurations") };
    let (responder, _) = bench.serve(&at_database(config, &database), "");
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    let answer = Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
    assert!(answer.text.contains("Nov 29 08:30:00 2026") && answer.text.contains("keyCompromise"), "{}", answer.text);
    Ask::serial(&ca, "5A5A").at(responder.http(), "/").expect(Status::error("unauthorized"));
    revoke(&leaf);
    becomes(&responder, &ca, &leaf.serial, &Status::Revoked);
}

/// Its CRL names a distribution point, comes by HTTPS, and is a new one after each revocation.
#[test]
fn step_ca_with_its_own_files_is_answered_for_by_its_crl() {
    let ca = Ca::new("step-ca");
    let (leaf, revoked) = (ca.issue(), ca.issue());
    let bench = bench_with_signer(&ca, "intermediate_ca.crt");
    let (web, address) = (bench.dir().join("web"), free_port(LOCAL));
    fs::create_dir_all(web.join("www/1.0")).unwrap();
    let revoke = |leaf: &Leaf| {
        ca.revoke(leaf, &[]);
        let lines = fs::read_to_string(ca.index()).unwrap();
        ca.write_part_crl(&format!("fullname = URI:https://{address}/1.0/crl"), &lines, "part.crl");
        openssl(ca.dir(), ["crl", "-in", "part.crl", "-outform", "DER", "-out", "part.der"]);
        fs::copy(ca.file("part.der"), web.join("www/1.0/new")).unwrap();
        fs::rename(web.join("www/1.0/new"), web.join("www/1.0/crl")).unwrap();
    };
    revoke(&revoked);
    certify(&web, LOCAL);
    fs::copy(web.join("root.pem"), bench.dir().join("root_ca.crt")).unwrap();
    let dir = web.display();
    let server = format!(
        "server {{ listen {address} ssl; ssl_certificate {dir}/web.pem; ssl_certificate_key {dir}/web.key; root {dir}/www; }}"
    );
    let _nginx = Nginx::with(&web, &server);
    listens(address);

    let [_, config] = &blocks("## step-ca", "toml")[..] else { panic!("two configurations") };
    let (responder, _) = bench.serve(&config.replace("ca.example:9000", &address.to_string()), "");
    Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
    Ask::about(&ca, &revoked).at(responder.http(), "/").expect(Status::Revoked);
    revoke(&leaf);
    becomes(&responder, &ca, &leaf.serial, &Status::Revoked);
}

/// A real OpenBao, and every command of the page.
#[test]
fn openbao_is_answered_for_by_its_crl_and_its_list() {
    let bench = Bench::new();
    let address = free_port(LOCAL);
    let _bao = Bao::start(bench.dir(), address);
    let path = openbao().parent().unwrap().display().to_string();
    let bao = |commands: &str| {
        bench.run(&format!("export PATH={path}:$PATH BAO_ADDR=http://{address} BAO_TOKEN=root HOME=$PWD\n{commands}"))
    };
    bao("bao secrets enable pki && bao secrets tune -max-lease-ttl=87600h pki \
         && bao write pki/root/generate/internal common_name=OpenBao key_type=ec ttl=87600h \
         && bao write pki/roles/web allow_any_name=true key_type=ec ttl=72h");
    let issue = |name: &str| bao(&format!("bao write -field=serial_number pki/issue/web common_name={name}.example"));
    let revoke = |serial: &str| drop(bao(&format!("bao write pki/revoke serial_number={serial}")));
    let (good, revoked) = (issue("good"), issue("revoked"));
    revoke(&revoked);
    bench.run(&request());
    blocks("## Vault and OpenBao", "sh").iter().for_each(|commands| drop(bao(commands)));

    let [config] = &blocks("## Vault and OpenBao", "toml")[..] else { panic!("one configuration") };
    let (responder, _): (Responder, SoftHsm) =
        bench.serve(&config.replace("vault.example:8200", &address.to_string()), "");
    let dir = responder.site.dir().to_owned();
    let says = |serial: &str| {
        let (serial, url) = (serial.trim().replace(':', ""), format!("http://{}/", responder.http()));
        let asked = format!("openssl ocsp -issuer ca.pem -serial 0x{serial} -no_nonce -url {url} -CAfile ca.pem");
        bash(&dir, &format!("{asked} 2>&1 || true"))
    };
    for (serial, status) in [(&good, ": good"), (&revoked, ": revoked")] {
        let said = says(serial);
        assert!(said.contains("Response verify OK") && said.contains(status), "{said}");
    }
    assert!(says("5A5A").contains("unauthorized"));
    let (commands, later) =
        (format!("export PATH={path}:$PATH BAO_ADDR=http://{address} BAO_TOKEN=root HOME=$PWD"), good);
    bash(&dir, &format!("{commands}; bao write pki/revoke serial_number={later}"));
    until("the revocation counts", PATIENCE, || says(&later).contains(": revoked").then_some(()));
}

/// A server with everything in memory, in a directory that vanishes.
struct Bao {
    _server: Launched,
}

impl Bao {
    fn start(dir: &Path, address: SocketAddr) -> Self {
        let mut server = Command::new(openbao());
        server
            .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"])
            .arg(format!("-dev-listen-address={address}"))
            .env("HOME", dir)
            .current_dir(dir)
            .stdin(Stdio::null());
        let server = Launched::start(server, &dir.join("bao.log"));
        let unsealed = format!("curl -sf http://{address}/v1/sys/health");
        until("OpenBao is ready", PATIENCE, || {
            ostia_tests::run(Command::new("bash").args(["-c", &unsealed])).status.success().then_some(())
        });
        Self { _server: server }
    }
}
