//! A reload that somebody asks for and waits for: a socket in the state directory.
//!
//! Purpose: SIGHUP asks for a reload, and tells nobody how it went. Over this socket `reload` asks and hears it, and so
//! does `systemctl reload`. Who may ask: the user of the service, and root. Invariant: what an asker hears is the outcome of
//! a reload that began after it asked. It does not know what is read.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::PermissionsExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::limits;

/// The socket's file.
const SOCKET: &str = "reload.socket";
/// What an asker says,
const QUESTION: &[u8] = b"reload\n";
/// and what it hears of a reload that was taken; of one that was refused it hears this and why.
const TAKEN: &str = "taken\n";
const REFUSED: &str = "refused\n";

/// The outcome of a reload; the error is why everything stays as it was.
pub type Verdict = Result<(), String>;

/// Somebody who waits for a verdict.
pub(super) type Asker = oneshot::Sender<Verdict>;

/// Those who ask.
#[derive(Debug)]
pub struct Askers(mpsc::Receiver<Asker>);

impl Askers {
    /// Returns once somebody asks: all who have asked by then. `None` when nobody can ask any more.
    pub(super) async fn recv(&mut self) -> Option<Vec<Asker>> {
        let mut all = vec![self.0.recv().await?];
        while let Ok(asker) = self.0.try_recv() {
            all.push(asker);
        }
        Some(all)
    }
}

/// Takes questions at the socket of a state directory, which is this process's. Where there can be no socket, SIGHUP is
/// left.
pub fn listen(state_dir: &Path, tasks: &mut JoinSet<()>) -> Askers {
    let (asked, askers) = mpsc::channel(limits::RELOADS_ASKED_MAX);
    match bind(state_dir) {
        Ok(listener) => drop(tasks.spawn(accept(listener, asked))),
        Err(error) => warn!(
            file = %state_dir.join(SOCKET).display(),
            %error,
            "nobody can ask for a reload and hear how it went: there is no socket for it; SIGHUP still asks for one"
        ),
    }
    Askers(askers)
}

/// A name of a socket has at most 108 bytes, and the path of the directory may be longer.
fn with_short_path<T>(state_dir: &Path, with: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let directory = File::open(state_dir)?;
    with(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()).into())
}

fn bind(state_dir: &Path) -> io::Result<tokio::net::UnixListener> {
    let listener = with_short_path(state_dir, |path| {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    })?;
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

async fn accept(listener: tokio::net::UnixListener, asked: mpsc::Sender<Asker>) {
    let mut answers = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while answers.try_join_next().is_some() {}
                answers.spawn(answer(stream, asked.clone()));
            }
            Err(error) => {
                warn!(%error, "a question for a reload could not be accepted");
                sleep(limits::ADMIN_ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Nobody hears of what goes wrong here but the asker, whose connection ends.
async fn answer(mut stream: tokio::net::UnixStream, asked: mpsc::Sender<Asker>) {
    let mut question = [0; QUESTION.len()];
    let heard = timeout(limits::RELOAD_QUESTION_MAX, stream.read_exact(&mut question)).await;
    if !matches!(heard, Ok(Ok(_))) || question != QUESTION {
        return;
    }
    let (asker, verdict) = oneshot::channel();
    if asked.try_send(asker).is_err() {
        let full = format!("{REFUSED}{} others wait for a reload already; ask again", limits::RELOADS_ASKED_MAX);
        let _ = stream.write_all(full.as_bytes()).await;
        return;
    }
    let told = match verdict.await {
        Ok(Ok(())) => TAKEN.to_owned(),
        Ok(Err(problem)) => format!("{REFUSED}{problem}"),
        // The service ends.
        Err(_) => return,
    };
    let _ = stream.write_all(told.as_bytes()).await;
}

/// Why no verdict was heard.
#[derive(Debug)]
pub enum Unheard {
    /// No service listens in this directory.
    NobodyThere(io::Error),
    /// The service ended, or did not say anything in time.
    Lost(io::Error),
}

/// Has the service with this state directory read its configuration again, and waits for the verdict, at most
/// [`limits::RELOAD_VERDICT_MAX`].
pub fn ask(state_dir: &Path) -> Result<Verdict, Unheard> {
    let stream = with_short_path(state_dir, UnixStream::connect).map_err(Unheard::NobodyThere)?;
    let told = hear(stream).map_err(Unheard::Lost)?;
    if told == TAKEN {
        return Ok(Ok(()));
    }
    match told.strip_prefix(REFUSED) {
        Some(problem) => Ok(Err(problem.to_owned())),
        None => Err(Unheard::Lost(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn hear(mut stream: UnixStream) -> io::Result<String> {
    stream.set_read_timeout(Some(limits::RELOAD_VERDICT_MAX))?;
    stream.write_all(QUESTION)?;
    stream.shutdown(Shutdown::Write)?;
    let mut told = Vec::new();
    stream.take(limits::RELOAD_VERDICT_OCTETS_MAX).read_to_end(&mut told)?;
    Ok(String::from_utf8_lossy(&told).into_owned())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Answers each question with the next verdict, and counts the askers of each.
    fn service(state_dir: &Path, verdicts: Vec<Verdict>) -> thread::JoinHandle<Vec<usize>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut tasks = JoinSet::new();
        let mut askers = {
            let _entered = runtime.enter();
            let _guard = runtime.handle().clone();
            runtime.block_on(async { listen(state_dir, &mut tasks) })
        };
        thread::spawn(move || {
            runtime.block_on(async move {
                let _tasks = tasks;
                let mut counts = Vec::new();
                for verdict in verdicts {
                    let all = askers.recv().await.unwrap();
                    counts.push(all.len());
                    for asker in all {
                        let _ = asker.send(verdict.clone());
                    }
                }
                // What was told still has to leave.
                sleep(std::time::Duration::from_millis(200)).await;
                counts
            })
        })
    }

    #[test]
    fn who_asks_hears_the_verdict_whatever_the_length_of_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("a".repeat(120));
        fs::create_dir(&state_dir).unwrap();
        assert!(matches!(ask(&state_dir), Err(Unheard::NobodyThere(_))));
        // A process that was killed has left it.
        fs::write(state_dir.join(SOCKET), "").unwrap();
        let problems = format!("a.toml:1: wrong\n{}", "b.toml:2: wrong\n".repeat(100));
        let service = service(&state_dir, vec![Ok(()), Err(problems.clone())]);
        assert_eq!(fs::metadata(state_dir.join(SOCKET)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&state_dir).unwrap(), Ok(()));
        assert_eq!(ask(&state_dir).unwrap(), Err(problems));
        assert_eq!(service.join().unwrap(), [1, 1]);
        assert!(matches!(ask(&state_dir), Err(Unheard::NobodyThere(_))), "it has ended");
    }

    #[test]
    fn who_says_anything_else_causes_nothing_and_a_service_that_ends_is_told_as_that() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path(), vec![Ok(())]);
        for wrong in [&b""[..], b"relo", b"RELOAD\n"] {
            let mut stream = with_short_path(dir.path(), UnixStream::connect).unwrap();
            stream.write_all(wrong).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "{wrong:?}");
        }
        assert_eq!(ask(dir.path()).unwrap(), Ok(()));
        assert_eq!(service.join().unwrap(), [1]);
    }
}
