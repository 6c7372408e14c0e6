//! Where the kernel refuses io_uring (containers mostly do): the same service on epoll.

use std::{process::Command, time::Duration};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Responder, Site, Status, Tenant,
    http::{Connection, exchange, get, ocsp_target, post, request},
    until,
};

use crate::ca_and_site;

/// Starts the responder with a system call answering an error, as a container's seccomp profile makes it.
fn start_refused(site: Site, call: &str, error: &str) -> Responder {
    let serve = site.serve();
    let mut command = Command::new("strace");
    // -D: the service stays this process's child, so that signals reach it.
    command.args(["-D", "-f", "-q", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:error={error}"), "--"]);
    command.arg(serve.get_program()).args(serve.get_args());
    site.start_by(command)
}

/// The one line that tells of epoll, where there is one.
fn told_of_epoll(responder: &Responder) -> Option<String> {
    let log = responder.log();
    let mut told = log.lines().filter(|line| line.contains("io_uring is refused here"));
    let first = told.next();
    assert_eq!(told.next(), None, "told once");
    first.map(str::to_owned)
}

#[test]
fn where_io_uring_is_refused_the_service_runs_on_epoll_and_says_so() {
    serves_without(&["io_uring_setup", "EPERM", "Operation not permitted"]);
}

#[test]
fn where_a_ring_can_be_made_and_not_entered_the_service_runs_on_epoll_and_says_so() {
    // Lists of allowed calls that name io_uring_setup alone: it said that it was ready, served nobody, took all cores for
    // itself, and did not end.
    serves_without(&["io_uring_enter", "EPERM", "Operation not permitted"]);
}

#[test]
fn whatever_call_of_io_uring_is_refused_and_however_the_service_answers_and_ends() {
    for (call, error, on_epoll) in
        [("io_uring_enter", "ENOSYS", true), ("io_uring_setup", "ENOMEM", true), ("io_uring_register", "EPERM", false)]
    {
        let (ca, site) = ca_and_site();
        let leaf = ca.issue();
        site.set_http("workers = 2");
        let mut responder = start_refused(site, call, error);
        let told = told_of_epoll(&responder);
        assert_eq!(told.is_some_and(|line| line.contains(call)), on_epoll, "{call}: {}", responder.log());
        Ask::about(&ca, &leaf).at(responder.http(), "/").expect(Status::Good);
        assert!(responder.end_by("TERM").success(), "{call}: {}", responder.log());
    }
}

/// Serves where a call is refused with an error, which is told in words.
fn serves_without([call, error, told]: &[&str; 3]) {
    let ca = Ca::new("Epoll CA");
    // Signed on the pool, so that a worker that sleeps in epoll has to be woken from there.
    let signer = ca.delegate(Delegate::Proper, KeyKind::P384);
    let (good, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    site.set_http("workers = 2");
    let mut responder = start_refused(site, call, error);
    let line = told_of_epoll(&responder).unwrap_or_else(|| panic!("not told: {}", responder.log()));
    assert!(["WARN", "epoll", call, told].iter().all(|wanted| line.contains(wanted)), "{line}");
    let http = responder.http();

    Ask::about(&ca, &good).at(http, "/").expect(Status::Good);
    Ask::about(&ca, &revoked).at(http, "/").expect(Status::Revoked);
    let asked = Ask::about(&ca, &good).request();
    let target = ocsp_target("/", &asked);
    assert_eq!(get(http, &target).body, post(http, "/", &asked).body);

    // A pipeline in one write, then one drip by drip, on one connection.
    let one = request("GET", &target, "");
    let mut connection = Connection::open(http).unwrap();
    connection.send(&one.repeat(40)).unwrap();
    for _ in 0..40 {
        assert_eq!(connection.receive(false).unwrap().expect("an answer").status, 200);
    }
    for drip in one.chunks(one.len() / 5 + 1) {
        connection.send(drip).unwrap();
    }
    assert_eq!(connection.receive(false).unwrap().expect("an answer").status, 200);

    // A revocation shows, on the connection that stands.
    ca.revoke(&good, &[]);
    until("the revocation shows", Duration::from_secs(20), || {
        connection.send(&one).unwrap();
        let reply = connection.receive(false).unwrap().expect("an answer");
        (Ask::about(&ca, &good).read(&reply.body).status == Status::Revoked).then_some(())
    });

    // Told to end, it answers whoever has connected.
    let mut waiting = Connection::open(http).unwrap();
    responder.signal("TERM");
    waiting.send(&request("GET", &target, "")).unwrap();
    assert_eq!(waiting.receive(false).unwrap().expect("an answer").status, 200);
    drop((waiting, connection));
    let status = responder.end_by("TERM");
    assert!(status.success(), "{status}\n{}", responder.log());
    assert!(exchange(http, &one).is_err(), "nobody listens any more");
}
