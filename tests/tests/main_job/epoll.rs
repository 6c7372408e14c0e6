//! Where the kernel refuses io_uring (containers mostly do): the same service on epoll.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use ostia_tests::{
    Ask, Ca, Delegate, KeyKind, Responder, Site, Status, Tenant,
    http::{Connection, exchange, get, ocsp_target, post, request},
    until,
};

/// Starts the responder with io_uring_setup answering EPERM, as a container's seccomp profile makes it.
fn start(site: Site) -> Responder {
    let serve = site.serve();
    let mut command = Command::new("strace");
    // -D: the service stays this process's child, so that signals reach it.
    command.args(["-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=io_uring_setup"]);
    command.args(["-e", "inject=io_uring_setup:error=EPERM", "--"]);
    command.arg(serve.get_program()).args(serve.get_args());
    let responder = site.start_by(command);
    let log = responder.log();
    let told = log.lines().find(|line| line.contains("io_uring is refused here"));
    assert!(told.is_some_and(|line| line.contains("WARN") && line.contains("epoll")), "{log}");
    responder
}

#[test]
fn where_io_uring_is_refused_the_service_runs_on_epoll_and_says_so() {
    let ca = Ca::new("Epoll CA");
    // Signed on the pool, so that a worker that sleeps in epoll has to be woken from there.
    let signer = ca.delegate(Delegate::Proper, KeyKind::P384);
    let (good, revoked) = (ca.issue(), ca.issue());
    ca.revoke(&revoked, &["-crl_reason", "superseded"]);
    let site = Site::new(&[Tenant::of(&ca, &signer)]);
    site.set_http("workers = 2");
    let mut responder = start(site);
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
    until("the revocation shows", Duration::from_secs(5), || {
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
    let begin = Instant::now();
    let status = responder.end_by("TERM");
    assert!(status.success(), "{status}\n{}", responder.log());
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert!(exchange(http, &one).is_err(), "nobody listens any more");
}
