//! Where it listens, who gets a connection, and whom it takes for the client.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    time::Duration,
};

use ostia_tests::{
    Haproxy, Responder, Site, free_port,
    http::{Connection, exchange, get, request},
    run, run_for, until,
};

use crate::ca_and_site;

/// `count` connections that have each had an answer, and stay.
fn crowd(address: SocketAddr, count: usize) -> Vec<Connection> {
    let open = |_| {
        let mut connection = Connection::open(address).unwrap();
        connection.send(&request("GET", "/", "")).unwrap();
        assert_eq!(connection.receive(false).unwrap().unwrap().status, 200);
        connection
    };
    (0..count).map(open).collect()
}

#[test]
fn connections_are_shared_evenly_by_the_workers() {
    for workers in [2, 4] {
        let (_ca, site) = ca_and_site();
        site.set_http(&format!("workers = {workers}"));
        let responder = site.start();
        for count in [8, 64, 1000] {
            let connections = crowd(responder.http(), count);
            let open = responder.metric_series("ostia_connections_open");
            assert_eq!((open.len(), open.iter().sum::<f64>()), (workers, count as f64), "{open:?}");
            let (share, most) = (count as f64 / workers as f64, open.iter().copied().fold(0.0, f64::max));
            let even = if count == 8 { most <= share + 1.0 } else { most <= 1.25 * share };
            assert!(even, "{count} connections, {workers} workers: {open:?}");
            drop(connections);
            let gone = || (responder.metric("ostia_connections_open", "") == 0.0).then_some(());
            until("all have gone", Duration::from_secs(20), gone);
        }
        assert!(responder.metric("ostia_connections_handed_over_total", "") > 0.0);
    }
}

#[test]
fn several_addresses_of_both_families_are_listened_on() {
    let (_ca, site) = ca_and_site();
    let (first, second) = (site.http, free_port(site.http.ip()));
    let sixth = free_port(IpAddr::V6(Ipv6Addr::LOCALHOST));
    site.edit_config(|config| {
        config.replacen(
            &format!("listen = [\"{first}\"]"),
            &format!("listen = [\"{first}\", \"{second}\", \"{sixth}\"]"),
            1,
        )
    });
    let responder = site.start();
    for address in [first, second, sixth] {
        assert_eq!(get(address, "/").status, 200, "{address}");
    }
    drop(responder);
}

#[test]
fn an_address_of_ipv4_is_written_one_way_whatever_the_socket() {
    // A socket unit with ListenStream=80 makes one socket for both families, where clients came as ::ffff:127.0.0.1.
    let (_ca, site) = ca_and_site();
    let both = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let address = SocketAddr::new([127, 0, 0, 1].into(), both.local_addr().unwrap().port());
    site.edit_config(|config| {
        let config = config.replacen(&format!("\"{}\"", site.http), "\"systemd\"", 1);
        let config = config.replacen("[http]", "[log]\naccess_sample = 1\n[http]", 1);
        config.replacen("[http]", "[http]\ntrusted_networks = [\"::ffff:127.0.0.0/104\"]", 1)
    });
    let responder = start_activated(site, &both);
    for (fields, client) in [("", "127.0.0.1"), ("X-Forwarded-For: ::ffff:192.0.2.9\r\n", "192.0.2.9")] {
        assert_eq!(exchange(address, &request("GET", "/", fields)).unwrap().status, 200);
        let told = || responder.log().contains(&format!("\"client\":\"{client}\"")).then_some(());
        until(client, Duration::from_secs(20), told);
    }
    assert!(!responder.log().contains("::ffff:"), "{}", responder.log());
    drop(responder);
    // Named in the configuration it is the address of IPv4.
    let (_ca, site) = ca_and_site();
    let http = site.http;
    let mapped = |address: SocketAddr| format!("[::ffff:{}]:{}", address.ip(), address.port());
    site.edit_config(|config| config.replacen(&http.to_string(), &mapped(http), 1));
    site.edit_config(|config| config.replacen(&site.admin.to_string(), &mapped(site.admin), 1));
    let responder = site.start();
    assert_eq!(get(http, "/").status, 200);
    assert!(!responder.log().contains("::ffff:"), "{}", responder.log());
}

/// Starts the responder with `listener` as descriptor 3, as systemd does.
fn start_activated(site: Site, listener: &TcpListener) -> Responder {
    let mut command = Command::new("sh");
    let line = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_FDNAMES=ostia.socket LISTEN_PID=$$; exec \"$@\"";
    let serve = site.serve();
    command.args(["-c", line, "sh"]).arg(serve.get_program()).args(serve.get_args());
    site.start_with(command, Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
}

#[test]
fn a_socket_of_systemd_keeps_connections_while_the_service_is_started_anew() {
    let (_ca, site) = ca_and_site();
    let listener = TcpListener::bind((site.http.ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    site.edit_config(|config| config.replacen(&format!("\"{}\"", site.http), "\"systemd\"", 1));
    site.set_http("workers = 2");
    let mut responder = start_activated(site, &listener);
    for _ in 0..20 {
        assert_eq!(get(address, "/").status, 200);
    }
    assert!(responder.end_by("TERM").success(), "{}", responder.log());
    // Nobody serves now, and nobody is refused.
    let mut waiting = Connection::open(address).unwrap();
    waiting.send(&request("GET", "/", "")).unwrap();
    let _responder = start_activated(responder.into_site(), &listener);
    assert_eq!(waiting.receive(false).unwrap().unwrap().status, 200);
}

#[test]
fn systemd_in_the_configuration_needs_a_socket_from_systemd() {
    let (_ca, site) = ca_and_site();
    site.edit_config(|config| config.replacen(&format!("\"{}\"", site.http), "\"systemd\"", 1));
    let said = site.refuses_to_start();
    for wanted in ["ostia.toml: http.listen", "ostia-responder.socket", "LISTEN_FDS is not set"] {
        assert!(said.contains(wanted), "no `{wanted}` in {said}");
    }
    // A shell between systemd and the service has another process's number.
    let mut command = site.serve();
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let said = run_for(Duration::from_secs(20), &mut command);
    assert!(!said.status.success() && said.text.contains("is for process 1, and this is another"), "{}", said.text);
}

#[test]
fn where_there_is_no_ipv6_a_start_and_a_check_say_so_with_the_remedy() {
    let (_ca, site) = ca_and_site();
    let sixth = free_port(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    site.edit_config(|config| config.replacen(&site.http.to_string(), &sixth.to_string(), 1));
    let remedy = "this machine has no IPv6: leave";
    // As a kernel without IPv6 answers to the first socket, which is this one.
    let mut serve = Command::new("strace");
    serve.args(["-f", "-q", "-o", "/dev/null", "-e", "trace=socket"]);
    serve.args(["-e", "inject=socket:error=EAFNOSUPPORT:when=1", "--"]);
    serve.arg(site.serve().get_program()).args(site.serve().get_args());
    let started = run_for(Duration::from_secs(20), &mut serve);
    assert!(started.status.code().is_some_and(|code| code == 1), "{}", started.text);
    // Where nothing has an address of IPv6, not even `lo`, as in a namespace that was just made.
    let loopback = format!("[::1]:{}", sixth.port());
    site.edit_config(|config| config.replacen(&sixth.to_string(), &loopback, 1));
    let mut check = Command::new("unshare");
    let program = site.serve();
    check.args(["-rn", "--"]).arg(program.get_program()).args(["check", "--config"]).arg(site.config());
    let checked = run(&mut check);
    assert!(checked.status.success(), "it may be another machine's: {}", checked.text);
    for (address, said) in [(sixth.to_string(), started.text), (loopback, checked.text)] {
        for wanted in ["ostia.toml: http.listen: ", &address, remedy, "net.ipv6.conf.all.disable_ipv6"] {
            assert!(said.contains(wanted), "no `{wanted}` in {said}");
        }
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_told_at_the_start_with_file_key_and_remedy() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    for (key, address, remedy) in [
        ("http.listen", "192.0.2.1:8080".to_owned(), "no interface of this machine has this address"),
        ("http.listen", taken.local_addr().unwrap().to_string(), "stop the program that holds the port"),
        ("admin.listen", taken.local_addr().unwrap().to_string(), "stop the program that holds the port"),
    ] {
        let (_ca, site) = ca_and_site();
        let own = if key == "http.listen" { site.http } else { site.admin };
        site.edit_config(|config| config.replacen(&own.to_string(), &address, 1));
        let said = site.refuses_to_start();
        for wanted in [format!("ostia.toml: {key}: cannot listen on {address}"), remedy.to_owned()] {
            assert!(said.contains(&wanted), "no `{wanted}` in {said}");
        }
    }
}

/// A PROXY header of version 2 for 192.0.2.7, port 4660.
const PROXIED: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x12\x34\0\x50";
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nHost : x\r\n\r\n";

fn start_telling_all(site: Site) -> Responder {
    let mut command = site.serve();
    command.env("OSTIA_LOG", "debug");
    site.start_by(command)
}

/// Waits until the log tells of a refused request of this client.
fn told_of(responder: &Responder, client: &str) {
    let told = || {
        let log = responder.log();
        let found = log.lines().any(|line| line.contains("a request was refused") && line.contains(client));
        found.then_some(())
    };
    until(&format!("the log names {client}"), Duration::from_secs(20), told);
}

#[test]
fn a_proxy_header_from_a_trusted_network_names_the_client() {
    let (_ca, site) = ca_and_site();
    site.set_http("proxy_protocol = true\ntrusted_networks = [\"127.0.0.0/8\"]\nhead_deadline = \"1s\"");
    let responder = start_telling_all(site);
    let reply = exchange(responder.http(), &[PROXIED, &request("GET", "/", "")].concat());
    assert_eq!(reply.unwrap().status, 200);
    // In as many pieces as there are bytes.
    let mut dripping = Connection::open(responder.http()).unwrap();
    for octet in [PROXIED, REFUSED].concat() {
        dripping.send(&[octet]).unwrap();
    }
    assert_eq!(dripping.receive(false).unwrap().unwrap().status, 400);
    told_of(&responder, "192.0.2.7");

    // With a protocol that is none of ours, and with as much behind the addresses as there may be.
    let unknown = [&PROXIED[..13], &[0x12], &PROXIED[14..]].concat();
    let long = [&PROXIED[..14], &60_012u16.to_be_bytes(), &PROXIED[16..], &[9; 60_000]].concat();
    for (header, client) in [(unknown, "127."), (long, "192.0.2.7")] {
        let reply = exchange(responder.http(), &[&header[..], REFUSED].concat());
        assert_eq!(reply.unwrap().status, 400, "{client}");
        told_of(&responder, &format!("\"client\":\"{client}"));
    }

    for (what, octets) in
        [("no header", request("GET", "/", "")), ("nothing but its beginning", PROXIED[..20].to_vec())]
    {
        let mut connection = TcpStream::connect(responder.http()).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        connection.write_all(&octets).unwrap();
        let mut said = Vec::new();
        // In order or by a reset, as long as nothing is said.
        let _ = connection.read_to_end(&mut said);
        assert!(said.is_empty(), "{what}: {said:?}");
    }
    until("both are counted", Duration::from_secs(20), || {
        let counted = ["proxy_headers_refused", "connections_expired"];
        let counted = counted.map(|what| responder.metric(&format!("ostia_{what}_total"), ""));
        (counted == [1.0, 1.0]).then_some(())
    });
}

#[test]
fn where_the_proxy_protocol_is_spoken_strangers_are_refused() {
    let (_ca, site) = ca_and_site();
    site.set_http("proxy_protocol = true\ntrusted_networks = [\"10.0.0.0/8\"]");
    let responder = site.start();
    assert!(exchange(responder.http(), &[PROXIED, &request("GET", "/", "")].concat()).is_err());
    assert_eq!(responder.metric("ostia_connections_untrusted_total", ""), 1.0);
}

#[test]
fn x_forwarded_for_is_believed_from_trusted_networks_only() {
    // Our own proxies may add a member or a field.
    let asked = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.9\r\nX-Forwarded-For: 127.0.0.7\r\n\
                  Transfer-Encoding: chunked\r\n\r\nZZ\r\n";
    for (network, client) in [("127.0.0.0/8", "192.0.2.9"), ("10.0.0.0/8", "127.")] {
        let (_ca, site) = ca_and_site();
        site.set_http(&format!("trusted_networks = [\"{network}\"]"));
        let responder = start_telling_all(site);
        assert_eq!(exchange(responder.http(), asked).unwrap().status, 400);
        told_of(&responder, &format!("\"client\":\"{client}"));
        assert!(!responder.log().contains("6.6.6.6"));
    }
}

#[test]
fn haproxy_passes_its_clients_on_by_the_proxy_protocol() {
    let (_ca, site) = ca_and_site();
    site.set_http("proxy_protocol = true\ntrusted_networks = [\"127.0.0.0/8\"]");
    let (http, front) = (site.http, free_port(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let lines = format!("  bind [::1]:{}\n  server one {http} send-proxy-v2 check\n", front.port());
    let responder = start_telling_all(site);
    let _haproxy = Haproxy::start(responder.site.dir(), &lines);
    let passed = || exchange(front, &request("GET", "/", "")).ok();
    let reply = until("haproxy passes it on", Duration::from_secs(30), passed);
    assert_eq!(reply.status, 200);
    assert_eq!(exchange(front, REFUSED).unwrap().status, 400);
    told_of(&responder, "\"client\":\"::1\"");
    assert_eq!(responder.metric("ostia_proxy_headers_refused_total", ""), 0.0, "nor by its health checks");
}

#[test]
fn what_is_wrong_with_the_listeners_is_told_with_key_and_remedy() {
    for (lines, wanted) in [
        ("proxy_protocol = true", ["http.proxy_protocol", "trusted_networks"]),
        ("trusted_networks = [\"10.0.0.0\"]", ["http.trusted_networks", "`10.0.0.0/8`"]),
        ("head_deadline = \"0s\"", ["http.head_deadline", "from 1s to 1h"]),
        ("drain_delay = 5", ["http.drain_delay", "from 0s to 1h"]),
    ] {
        let (_ca, site) = ca_and_site();
        site.set_http(lines);
        site.is_refused(&wanted);
    }
    let (_ca, site) = ca_and_site();
    site.edit_config(|config| config.replacen(&format!("\"{}\"", site.http), "\"localhost\"", 1));
    site.is_refused(&["http.listen", "`localhost`", "`systemd`"]);
}
