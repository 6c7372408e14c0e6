//! The command that revokes.
//!
//! Invariant: it runs once, ends or is ended within the time-out, and its exit is noticed at once (the kernel wakes us
//! through a pidfd, so that no polling blurs the moment). The serial is hex digits by construction, so it cannot be
//! more than an argument.

use crate::problem::Problem;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs the command for one serial and waits for its success.
pub(super) fn run(template: &str, serial_hex: &str, timeout: Duration) -> Result<(), Problem> {
    let text = template.replace("{serial}", serial_hex);
    let fail = |why: String| Problem::new(format!("--revoke-with: `{text}` {why}"));
    // Its standard output would mix with the report; its standard error is the user's to see.
    let mut child = Command::new("sh")
        .args(["-c", &text])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| fail(format!("could not be started: {e}; `sh` must be in the path")))?;
    let ended = wait(&child, timeout);
    if !matches!(ended, Ok(true)) {
        // It may have ended meanwhile; then there is nothing to kill.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| fail(format!("could not be waited for: {e}")))?;
    match ended {
        Ok(true) if status.success() => Ok(()),
        Ok(true) => Err(fail(format!("ended with {status}; it must exit with 0 once the revocation is acknowledged"))),
        Ok(false) => {
            Err(fail(format!("did not end within {timeout:?}; it was killed; raise --timeout if it may take longer")))
        }
        Err(e) => Err(fail(format!("could not be watched: {e}"))),
    }
}

/// Whether the child ended in time.
fn wait(child: &std::process::Child, timeout: Duration) -> rustix::io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_the_serial_where_it_belongs_and_waits_for_success() {
        let limit = Duration::from_secs(10);
        assert_eq!(run("test {serial} = 0A", "0A", limit), Ok(()));
        let problem = run("exit 3 # {serial}", "0A", limit).unwrap_err().to_string();
        assert!(problem.contains("exit status: 3"), "{problem}");
    }

    #[test]
    fn kills_a_command_that_does_not_end() {
        let begun = std::time::Instant::now();
        let problem = run("exec sleep 30", "0A", Duration::from_millis(50)).unwrap_err().to_string();
        assert!(problem.contains("did not end") && begun.elapsed() < Duration::from_secs(10), "{problem}");
    }
}
