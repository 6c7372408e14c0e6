//! A reload that somebody asks for and waits for: a socket in the state directory.
//!
//! Purpose: SIGHUP asks for a reload, and tells nobody how it went. Over this socket `reload` asks and hears it, and so
//! does `systemctl reload`. Who may ask: the user of the service, and root. Invariants: what an asker hears is the outcome of
//! a reload that began after it asked; and it hears which file was read, because it may mean another one. It does not know
//! what is read.
//!
//! The reply is text: `taken` or `refused`, `of` and the path of the file, and then, line by line, what else is to be said: the
//! warnings of a reload that was taken, or why it was refused.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
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
/// and what it hears first of a reload that was taken, or refused.
const TAKEN: &str = "taken\n";
const REFUSED: &str = "refused\n";
/// What stands before the path of the file. A service of version 0.2 says no such line.
const OF: &str = "of ";

/// The outcome of a reload: the warnings of one that was taken, a line each; the error is why everything stays as it was.
pub type Verdict = Result<Vec<String>, String>;

/// What an asker hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The absolute path of the file that the service has read; `None` from a service that does not say it.
    pub file: Option<PathBuf>,
    /// How it went.
    pub verdict: Verdict,
}

impl Heard {
    /// The reply that tells it.
    fn written(file: &str, verdict: &Verdict) -> String {
        match verdict {
            Ok(warnings) => {
                let lines: String = warnings.iter().map(|line| format!("{}\n", line.replace('\n', " "))).collect();
                format!("{TAKEN}{OF}{file}\n{lines}")
            }
            Err(problem) => format!("{REFUSED}{OF}{file}\n{problem}"),
        }
    }

    /// From a reply; `None` for anything else.
    fn read(reply: &str) -> Option<Self> {
        let (taken, rest) = match (reply.strip_prefix(TAKEN), reply.strip_prefix(REFUSED)) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        let of = rest.strip_prefix(OF).and_then(|rest| rest.split_once('\n'));
        let (file, rest) = of.map_or((None, rest), |(file, rest)| (Some(file.into()), rest));
        let verdict = if taken { Ok(rest.lines().map(str::to_owned).collect()) } else { Err(rest.to_owned()) };
        Some(Self { file, verdict })
    }
}

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

/// Takes questions at the socket of a state directory, which is this process's; `config`: the file that a reload reads.
/// Where there can be no socket, SIGHUP is left.
pub fn listen(state_dir: &Path, config: &Path, tasks: &mut JoinSet<()>) -> Askers {
    let (asked, askers) = mpsc::channel(limits::RELOADS_ASKED_MAX);
    let file = absolute(config).to_string_lossy().into_owned();
    match bind(state_dir) {
        Ok(listener) => drop(tasks.spawn(accept(listener, file, asked))),
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

async fn accept(listener: tokio::net::UnixListener, file: String, asked: mpsc::Sender<Asker>) {
    let mut answers = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while answers.try_join_next().is_some() {}
                answers.spawn(answer(stream, file.clone(), asked.clone()));
            }
            Err(error) => {
                warn!(%error, "a question for a reload could not be accepted");
                sleep(limits::ADMIN_ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Nobody hears of what goes wrong here but the asker, whose connection ends.
async fn answer(mut stream: tokio::net::UnixStream, file: String, asked: mpsc::Sender<Asker>) {
    let mut question = [0; QUESTION.len()];
    let heard = timeout(limits::RELOAD_QUESTION_MAX, stream.read_exact(&mut question)).await;
    if !matches!(heard, Ok(Ok(_))) || question != QUESTION {
        return;
    }
    let (asker, verdict) = oneshot::channel();
    if asked.try_send(asker).is_err() {
        let full = format!("{} others wait for a reload already; ask again", limits::RELOADS_ASKED_MAX);
        let _ = stream.write_all(Heard::written(&file, &Err(full)).as_bytes()).await;
        return;
    }
    // Without a verdict the service ends.
    let Ok(verdict) = verdict.await else { return };
    let _ = stream.write_all(Heard::written(&file, &verdict).as_bytes()).await;
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
pub fn ask(state_dir: &Path) -> Result<Heard, Unheard> {
    let stream = with_short_path(state_dir, UnixStream::connect).map_err(Unheard::NobodyThere)?;
    let told = hear(stream).map_err(Unheard::Lost)?;
    Heard::read(&told).ok_or_else(|| Unheard::Lost(io::ErrorKind::UnexpectedEof.into()))
}

/// As it is where the working directory is gone.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether both paths name the same file, also by a link, or through a mount at two places.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let is_one = |one: &fs::Metadata, other: &fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) if is_one(&one, &other) => true,
        _ => absolute(one) == absolute(other),
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

    const FILE: &str = "/etc/ostia/ostia.toml";

    fn heard(verdict: Verdict) -> Heard {
        Heard { file: Some(FILE.into()), verdict }
    }

    /// Answers each question with the next verdict, and counts the askers of each.
    fn service(state_dir: &Path, verdicts: Vec<Verdict>) -> thread::JoinHandle<Vec<usize>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut tasks = JoinSet::new();
        let mut askers = {
            let _entered = runtime.enter();
            let _guard = runtime.handle().clone();
            runtime.block_on(async { listen(state_dir, Path::new(FILE), &mut tasks) })
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
        let warnings = vec!["http.listen: waits".to_owned(), "of two\nlines".to_owned()];
        let service = service(&state_dir, vec![Ok(Vec::new()), Ok(warnings), Err(problems.clone())]);
        assert_eq!(fs::metadata(state_dir.join(SOCKET)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&state_dir).unwrap(), heard(Ok(Vec::new())));
        assert_eq!(ask(&state_dir).unwrap(), heard(Ok(vec!["http.listen: waits".into(), "of two lines".into()])));
        assert_eq!(ask(&state_dir).unwrap(), heard(Err(problems)));
        assert_eq!(service.join().unwrap(), [1, 1, 1]);
        assert!(matches!(ask(&state_dir), Err(Unheard::NobodyThere(_))), "it has ended");
    }

    #[test]
    fn who_says_anything_else_causes_nothing_and_a_service_that_ends_is_told_as_that() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path(), vec![Ok(Vec::new())]);
        for wrong in [&b""[..], b"relo", b"RELOAD\n"] {
            let mut stream = with_short_path(dir.path(), UnixStream::connect).unwrap();
            stream.write_all(wrong).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "{wrong:?}");
        }
        assert_eq!(ask(dir.path()).unwrap(), heard(Ok(Vec::new())));
        assert_eq!(service.join().unwrap(), [1]);
    }
    #[test]
    fn a_service_of_before_that_names_no_file_is_understood() {
        let of = |verdict| Some(Heard { file: None, verdict });
        assert_eq!(Heard::read("taken\n"), of(Ok(Vec::new())));
        assert_eq!(Heard::read("refused\na.toml:1: wrong"), of(Err("a.toml:1: wrong".into())));
        assert_eq!(Heard::read("take"), None);
        assert_eq!(Heard::read(""), None);
    }

    #[test]
    fn a_file_is_the_same_by_any_of_its_names_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["a", "b"] {
            fs::write(path(name), "the same").unwrap();
        }
        std::os::unix::fs::symlink("a", path("link")).unwrap();
        assert!(is_same_file(&path("a"), &path("link")) && is_same_file(&path("a"), &path("./a")));
        assert!(!is_same_file(&path("a"), &path("b")));
        assert!(is_same_file(&path("gone"), &path("gone")), "one that nobody can see here");
        assert!(!is_same_file(&path("gone"), &path("a")));
    }
}
