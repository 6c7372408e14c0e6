//! A replica that is killed under load: what its clients lose, and what those of others do.

use std::{io::ErrorKind, net::TcpStream, thread, time::Duration};

use ostia_tests::{Client, ClusterPlan, Status};

use crate::{SOON, issued, revoked};

/// Requests under way at a time on one connection.
const PIPELINED: u64 = 8;
/// How soon a client notices: the kernel ends the connections of a process that is gone, which takes seconds where
/// everybody wants a processor.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn a_replica_killed_under_load_loses_what_was_under_way_on_its_connections_and_nothing_else() {
    let mut cluster = ClusterPlan::of(1, 3).start();
    let (good, gone) = ([(); 3].map(|()| issued(&cluster)), revoked(&cluster));
    let serials: Vec<&str> = good.iter().chain([&gone]).map(String::as_str).collect();
    let both = [Status::Good, Status::Revoked];
    let client = Client::of(&cluster, &serials).pipelined(PIPELINED as usize);
    let addresses = [0, 1, 2].map(|replica| cluster.replicas[replica].site().http);
    let (on_killed, on_peers) = (client.ask(&addresses[..1], 8), client.ask(&addresses[1..], 4));
    thread::sleep(Duration::from_secs(2));
    cluster.replicas[0].kill();
    thread::sleep(Duration::from_secs(2));
    // Whoever connects now is refused at once, and can go to another one: soon after the end of the process, when the kernel
    // has ended what that had under way with its listener.
    cluster.until("connections are refused", SOON, || {
        let refused = TcpStream::connect(addresses[0]).err()?;
        (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
    let (mut sent, mut answered, mut lost) = (0, 0, 0);
    for tally in on_killed.end() {
        let (kind, after) = tally.ended.expect("the connection ended");
        let is_end = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&kind);
        assert!(is_end && after < NOTICED_WITHIN, "{kind:?} {after:?} after the last answer");
        // Each answer was whole, about the right certificate, in its turn, and right.
        assert!(tally.answered > 0 && tally.refused() == 0 && tally.in_flight() <= PIPELINED, "{tally:?}");
        assert!(tally.statuses(&client).iter().all(|status| both.contains(status)));
        eprintln!(
            "{} sent, {} answered, {} in flight when it was killed",
            tally.sent,
            tally.answered,
            tally.in_flight()
        );
        (sent, answered, lost) = (sent + tally.sent, answered + tally.answered, lost + tally.in_flight());
    }
    eprintln!("of {sent} requests {answered} were answered and {lost} lost");
    // Under load something was under way. Nobody else has noticed.
    assert!(lost > 0 && lost <= 8 * PIPELINED && answered == sent - lost);
    on_peers.end_with_only(&both);
    // It comes back, and answers the same.
    cluster.replicas[0].start();
    cluster.until_filled(0);
    let again = client.ask(&addresses, 2);
    cluster.until_revoked_everywhere(&gone);
    thread::sleep(Duration::from_millis(500));
    let tallies = again.end();
    assert!(tallies.iter().all(|tally| tally.ended.is_none() && tally.refused() == 0), "{tallies:?}");
}
