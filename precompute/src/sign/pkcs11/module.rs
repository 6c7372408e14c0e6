//! A PKCS#11 library in this process: initialised once, shared by all signers of all its tokens.
//!
//! Invariant: no call is made while the library is being initialised, and none with a handle from before. A library
//! that has lost its connection to a token (its server was restarted) is initialised again: rarely, never while another
//! of its tokens works, and only when no call is in it. Earlier sessions then belong to an old generation and end. When
//! the library is unused, and at the end of the program, its sessions are closed and it is finalised, unless another
//! part of the process has initialised it. The program does not wait without a bound for a library that hangs in that.
//! It does not know what a session signs.

use std::{
    fmt,
    io::{self, Read as _},
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    session::Session,
};
use tracing::{info, warn};

use super::{
    fault::fault,
    gate::{Gate, Share},
    library,
    login::Login,
    uri::ModuleWanted,
};
use crate::{
    limits,
    pki::open_regular,
    sign::{Fault, FaultClass},
};

/// A loaded library. It stays loaded for the life of the process.
pub(super) struct Module {
    /// The path it was first loaded by.
    path: PathBuf,
    /// The file behind all links: the same file is the same library.
    file: PathBuf,
    context: Pkcs11,
    gate: Gate,
    /// The present generation, which is the number of the initialisation; 0: none.
    generation: AtomicU64,
    /// Whether it was initialised here. Otherwise another part of the process did it and has to finalise it.
    own: AtomicBool,
    /// Whether the program ends: no more calls are made.
    ended: AtomicBool,
    /// How many use it.
    users: AtomicUsize,
    /// The signing sessions.
    sessions: Mutex<Vec<Weak<OpenSession>>>,
    /// Whether a call that closes a session does not return; then no other is closed.
    close_hangs: AtomicBool,
    history: Mutex<History>,
    tokens: Mutex<Vec<(TokenId, Arc<Shared>)>>,
}

/// A signing session, until it is closed: by its owner, or at the end of the program, whoever still has it then.
#[derive(Debug)]
pub(super) struct OpenSession(Mutex<Option<Session>>);

impl OpenSession {
    /// Locks it for the time of a signing call.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A use of a library; the end of the last use finalises it.
#[derive(Debug)]
pub(super) struct ModuleUse(Arc<Module>);

/// A use of a token; the end of the last use closes the login session.
#[derive(Debug)]
pub(super) struct TokenUse {
    module: ModuleUse,
    shared: Arc<Shared>,
}

/// What all users of a token in this process share.
#[derive(Default, Debug)]
pub(super) struct Shared {
    pub(super) login: Login,
    health: Mutex<Health>,
    /// How many use it.
    users: AtomicUsize,
}

#[derive(Default)]
struct History {
    generations: u64,
    last: Option<Instant>,
    /// How often it was initialised again since a session was last opened.
    in_vain: u32,
    /// Tokens for which it was logged that they wait for others.
    waiting_told: Vec<Arc<str>>,
}

/// How a token's last uses went.
#[derive(Clone, Copy, Default, Debug)]
struct Health {
    /// When it last signed.
    signed: Option<Instant>,
    /// Whether it has failed since.
    failed: bool,
}

impl Health {
    /// Whether initialising the library again would end sessions that are in use.
    fn is_well(self, now: Instant) -> bool {
        let lasts = if self.failed { limits::MODULE_RENEWAL_PAUSE_MIN } else { limits::TOKEN_WELL };
        self.signed.is_some_and(|signed| now.saturating_duration_since(signed) < lasts)
    }
}

impl Shared {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a signature.
    pub(super) fn signed(&self, now: Instant) {
        *self.health() = Health { signed: Some(now), failed: false };
    }

    /// Notes that it is gone, or broken.
    pub(super) fn failed(&self) {
        self.health().failed = true;
    }

    /// Whether it has signed after `moment`.
    fn has_signed_since(&self, moment: Instant) -> bool {
        self.health().signed.is_some_and(|signed| signed > moment)
    }
}

/// What distinguishes a token from all others in any slot: slots change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TokenId {
    pub(super) label: String,
    pub(super) manufacturer: String,
    pub(super) model: String,
    pub(super) serial: String,
}

/// A token to which the library has lost its connection, from the view of its user.
pub(super) struct Lost<'t> {
    /// The token's name in messages.
    pub(super) called: &'t Arc<str>,
    /// The token, if it was ever found.
    pub(super) shared: Option<TokenUse>,
    /// Since when it has not been found.
    pub(super) since: Instant,
}

/// The outcome of a request to initialise the library again.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Renewal {
    /// There is a new generation to try.
    Renewed,
    /// Not done now.
    NotNow,
    /// Not done while another token signs; somebody has to look at it. For people.
    InUse(String),
}

/// A share of the library: while it lives, the generation does not change.
pub(super) struct Inside<'m> {
    pub(super) context: &'m Pkcs11,
    pub(super) generation: u64,
    _share: Share<'m>,
}

/// Why a library is not initialised again.
enum Beside {
    /// Another token, with this label, has signed since the wanted one was lost.
    Signs(String),
    /// Another token may have sessions, and it is not yet known whether it is still there.
    MaySign,
}

/// One for each file, under whatever name, and never unloaded: calls may still be in it.
static MODULES: Mutex<Vec<Arc<Module>>> = Mutex::new(Vec::new());

/// Leaves every token at the end of the program: closes sessions and finalises libraries; no call signs any more. Waits
/// at most [`limits::TOKENS_END_MAX`] for libraries that hang.
pub fn end() {
    let modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (send, ended) = mpsc::channel::<()>();
    for module in modules {
        module.ended.store(true, Ordering::Release);
        let send = send.clone();
        let shut = move || {
            module.shut();
            drop(send);
        };
        let _ = start("tokens", shut);
    }
    drop(send);
    if ended.recv_timeout(limits::TOKENS_END_MAX) == Err(RecvTimeoutError::Timeout) {
        warn!(
            waited_seconds = limits::TOKENS_END_MAX.as_secs(),
            "not waiting for a PKCS#11 module that does not return; its sessions are left to the token"
        );
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

impl ModuleUse {
    fn of(module: Arc<Module>) -> Self {
        module.users.fetch_add(1, Ordering::AcqRel);
        Self(module)
    }

    /// What all users of a token in this process share.
    pub(super) fn token(&self, token: &TokenId) -> TokenUse {
        let shared = self.shared(token);
        shared.users.fetch_add(1, Ordering::AcqRel);
        TokenUse { module: self.clone(), shared }
    }

    /// Closes a session of this generation. If that hangs, its thread keeps it, and no other is closed before it has
    /// returned.
    pub(super) fn close(&self, generation: u64, session: Session) {
        if self.close_hangs.load(Ordering::Acquire) {
            return;
        }
        let (send, closed) = mpsc::channel::<()>();
        // The library is not finalised before the session is closed.
        let user = self.clone();
        let close = move || {
            if let Ok(_inside) = user.inside_again(generation) {
                let _ = session.close();
            }
            user.close_hangs.store(false, Ordering::Release);
            drop(send);
        };
        if start("close", close).is_ok()
            && closed.recv_timeout(limits::SESSION_CLOSE_WAIT) == Err(RecvTimeoutError::Timeout)
        {
            self.close_hangs.store(true, Ordering::Release);
            warn!(module = %self.path.display(), "does not return from closing a session; the program does not wait for it");
        }
    }
}

impl Clone for ModuleUse {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.0))
    }
}

impl fmt::Display for ModuleUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Deref for ModuleUse {
    type Target = Module;

    fn deref(&self) -> &Module {
        &self.0
    }
}

impl Drop for ModuleUse {
    fn drop(&mut self) {
        let is_last = self.users.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && self.generation.load(Ordering::Acquire) != 0 {
            let module = Arc::clone(&self.0);
            let _ = start("tokens", move || module.shut());
        }
    }
}

impl Clone for TokenUse {
    fn clone(&self) -> Self {
        self.shared.users.fetch_add(1, Ordering::AcqRel);
        Self { module: self.module.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl Deref for TokenUse {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for TokenUse {
    fn drop(&mut self) {
        if self.shared.users.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let (module, shared) = (self.module.clone(), Arc::clone(&self.shared));
        let leave = move || {
            let generation = module.generation.load(Ordering::Acquire);
            if let Ok(_inside) = module.inside_again(generation)
                && shared.users.load(Ordering::Acquire) == 0
            {
                shared.login.leave(generation);
            }
        };
        let _ = start("tokens", leave);
    }
}

impl Module {
    /// The library in a file, loaded by the first call. `base`: the directory of the configuration.
    pub(super) fn load(wanted: &ModuleWanted, base: &Path) -> Result<ModuleUse, Fault> {
        let defect = |message: String| Fault::new(FaultClass::Defect, message);
        let named = match wanted {
            ModuleWanted::Path(path) => base.join(path),
            ModuleWanted::Name(name) => find(name).map_err(defect)?,
        };
        let file = named.canonicalize();
        let file =
            file.map_err(|error| defect(format!("the PKCS#11 module {} cannot be read: {error}", named.display())))?;
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.iter().find(|module| module.file == file) {
            return Ok(ModuleUse::of(Arc::clone(module)));
        }
        let asked = format!("{} cannot be loaded as a PKCS#11 module", named.display());
        if let Some(problem) = library_problem(&file) {
            return Err(defect(format!("{asked}: {problem}")));
        }
        let context = Pkcs11::new(&file).map_err(|error| fault(asked, &error))?;
        let module = Arc::new(Self {
            path: named,
            file,
            context,
            gate: Gate::default(),
            generation: AtomicU64::new(0),
            own: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            users: AtomicUsize::new(0),
            sessions: Mutex::default(),
            close_hangs: AtomicBool::new(false),
            history: Mutex::default(),
            tokens: Mutex::default(),
        });
        modules.push(Arc::clone(&module));
        Ok(ModuleUse::of(module))
    }

    /// The share that every call to the library needs; the first one initialises the library.
    pub(super) fn enter(&self) -> Result<Inside<'_>, Fault> {
        if self.generation.load(Ordering::Acquire) == 0 {
            let _alone = self.gate.alone(limits::MODULE_ENTER_WAIT).ok_or_else(|| self.occupied())?;
            self.refuse_ended()?;
            if self.generation.load(Ordering::Acquire) == 0 {
                self.initialise(Instant::now())?;
            }
        }
        let share = self.gate.enter(limits::MODULE_ENTER_WAIT).ok_or_else(|| self.occupied())?;
        match self.generation.load(Ordering::Acquire) {
            // The last attempt to initialise it again has just failed.
            0 => Err(self.occupied()),
            generation => Ok(Inside { context: &self.context, generation, _share: share }),
        }
    }

    fn refuse_ended(&self) -> Result<(), Fault> {
        let over = || Fault::new(FaultClass::Session, format!("{self} is not used any more: the program ends"));
        if self.ended.load(Ordering::Acquire) { Err(over()) } else { Ok(()) }
    }

    /// The same, for a caller with a handle of this generation.
    pub(super) fn enter_again(&self, generation: u64) -> Result<Inside<'_>, Fault> {
        self.refuse_ended()?;
        self.inside_again(generation)
    }

    /// The same, for closing what is open, also at the end of the program.
    fn inside_again(&self, generation: u64) -> Result<Inside<'_>, Fault> {
        let over =
            || Fault::new(FaultClass::Session, format!("{self} was initialised anew, and its sessions are gone"));
        if generation == 0 || self.generation.load(Ordering::Acquire) != generation {
            return Err(over());
        }
        let share = self.gate.enter(limits::MODULE_ENTER_WAIT).ok_or_else(|| self.occupied())?;
        // It does not change while there are shares.
        if self.generation.load(Ordering::Acquire) != generation {
            return Err(over());
        }
        Ok(Inside { context: &self.context, generation, _share: share })
    }

    /// Not a fault of the token that was to be used.
    fn occupied(&self) -> Fault {
        Fault::new(FaultClass::Session, format!("{self} is being initialised anew"))
    }

    /// Initialises the library again if that is due. The caller found in this generation that it has lost its
    /// connection to a token.
    pub(super) fn renew(&self, generation: u64, lost: &Lost<'_>, now: Instant) -> Renewal {
        if !self.own.load(Ordering::Acquire) {
            // The part of the process that initialised it would lose its sessions.
            return Renewal::NotNow;
        }
        let in_use = self.in_use_beside(lost, now);
        {
            let mut history = self.history();
            if self.generation.load(Ordering::Acquire) != generation {
                return Renewal::Renewed;
            }
            match in_use {
                Some(Beside::Signs(label)) => {
                    let text = format!(
                        "finding it may require initialising {self} anew, which is not done while its token `{label}` signs: restart the service, or give each token a library of its own"
                    );
                    if !history.waiting_told.contains(lost.called) {
                        history.waiting_told.push(Arc::clone(lost.called));
                        warn!("{} is gone; {text}", lost.called);
                    }
                    return Renewal::InUse(text);
                }
                Some(Beside::MaySign) => return Renewal::NotNow,
                None => {}
            }
            if history.last.is_some_and(|last| now.saturating_duration_since(last) < renewal_pause(history.in_vain)) {
                return Renewal::NotNow;
            }
            history.last = Some(now);
            history.in_vain = history.in_vain.saturating_add(1);
        }
        let Some(_alone) = self.gate.alone(limits::MODULE_QUIET_WAIT) else {
            warn!(module = %self.path.display(), "cannot be initialised anew now: a call in it does not return");
            return Renewal::NotNow;
        };
        if self.refuse_ended().is_err() {
            return Renewal::NotNow;
        }
        self.generation.store(0, Ordering::Release);
        self.finalise();
        match self.initialise(now) {
            Ok(()) => {
                info!(module = %self.path.display(), "was initialised anew: it had lost a token");
                Renewal::Renewed
            }
            Err(fault) => {
                warn!(module = %self.path.display(), %fault, "cannot be initialised anew");
                Renewal::NotNow
            }
        }
    }

    /// Whether another token would lose its sessions. The wanted token itself counts only if sessions that were opened
    /// earlier still sign.
    fn in_use_beside(&self, lost: &Lost<'_>, now: Instant) -> Option<Beside> {
        let is_own = |token: &Arc<Shared>| lost.shared.as_ref().is_some_and(|own| Arc::ptr_eq(&own.shared, token));
        let mut in_use = None;
        for (id, token) in self.tokens().iter() {
            let has_signed = token.has_signed_since(lost.since);
            if !token.health().is_well(now) || is_own(token) && !has_signed {
                continue;
            }
            if has_signed && !is_own(token) {
                return Some(Beside::Signs(id.label.clone()));
            }
            in_use = Some(Beside::MaySign);
        }
        in_use
    }

    /// Closes what is open and finalises the library, if it is unused or the program ends.
    fn shut(&self) {
        let Some(_alone) = self.gate.alone(limits::MODULE_QUIET_WAIT) else {
            // PKCS#11 does not say what C_Finalize does to running calls.
            warn!(module = %self.path.display(), "is not finalised: a call in it does not return");
            return;
        };
        if self.users.load(Ordering::Acquire) > 0 && !self.ended.load(Ordering::Acquire) {
            return;
        }
        let generation = self.generation.swap(0, Ordering::AcqRel);
        if generation == 0 {
            return;
        }
        for session in std::mem::take(&mut *self.sessions()).iter().filter_map(Weak::upgrade) {
            let session = session.lock().take();
            let _ = session.map(Session::close);
        }
        let tokens: Vec<_> = self.tokens().iter().map(|(_, token)| Arc::clone(token)).collect();
        tokens.iter().for_each(|token| token.login.leave(generation));
        if self.own.load(Ordering::Acquire) {
            self.finalise();
        }
    }

    /// To be called while no other call is in the library. All sessions end with it.
    fn finalise(&self) {
        match self.context.clone().finalize() {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
            Err(error) => warn!(module = %self.path.display(), %error, "C_Finalize failed"),
        }
    }

    /// To be called while no other call is in the library.
    fn initialise(&self, now: Instant) -> Result<(), Fault> {
        match self.context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) => self.own.store(true, Ordering::Release),
            // Another part of this process has done it, such as a module that uses this one.
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => self.own.store(false, Ordering::Release),
            Err(error) => {
                let mut fault = fault(self, &error);
                fault.message += &not_initialised(&self.path, &error);
                return Err(fault);
            }
        }
        let mut history = self.history();
        history.generations += 1;
        history.last = Some(now);
        history.waiting_told.clear();
        self.generation.store(history.generations, Ordering::Release);
        Ok(())
    }

    /// Notes a new signing session. `called`: the token's name in messages.
    pub(super) fn session_opened(&self, session: Session, called: &str) -> Arc<OpenSession> {
        let session = Arc::new(OpenSession(Mutex::new(Some(session))));
        {
            let mut sessions = self.sessions();
            sessions.retain(|session| session.strong_count() > 0);
            sessions.push(Arc::downgrade(&session));
        }
        let mut history = self.history();
        history.in_vain = 0;
        history.waiting_told.retain(|told| **told != *called);
        session
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Weak<OpenSession>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, Vec<(TokenId, Arc<Shared>)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self, token: &TokenId) -> Arc<Shared> {
        let mut tokens = self.tokens();
        if let Some((_, shared)) = tokens.iter().find(|(id, _)| id == token) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(Shared::default());
        tokens.push((token.clone(), Arc::clone(&shared)));
        shared
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the PKCS#11 module {}", self.path.display())
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.path.display())
    }
}

/// Why the loader cannot load a file, if the head of the file shows it. The loader reports a file that cannot be read.
fn library_problem(file: &Path) -> Option<String> {
    let opened = open_regular(file).ok()?;
    let length = opened.metadata().ok()?.len();
    let mut head = Vec::with_capacity(library::HEAD_BYTES);
    opened.take(library::HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    library::problem(&head, length)
}

/// The possible reason for a failed C_Initialize: libraries return the same error for all.
fn not_initialised(path: &Path, error: &Error) -> String {
    use RvError::{ArgumentsBad, CantLock, DeviceError, FunctionFailed, GeneralError};
    match error {
        Error::Pkcs11(GeneralError | FunctionFailed | DeviceError, _) => {}
        Error::Pkcs11(CantLock | ArgumentsBad, _) => {
            return "; it may not support several threads, which is required: use a newer one".into();
        }
        _ => return String::new(),
    }
    if !path.to_string_lossy().contains("softhsm") {
        return "; most libraries report this when they cannot read their own configuration: make sure that the service's user has the environment variable or file that the manual names".into();
    }
    let named = match std::env::var_os("SOFTHSM2_CONF") {
        Some(file) => format!("SOFTHSM2_CONF is {}", Path::new(&file).display()),
        None => "SOFTHSM2_CONF is not set, which means /etc/softhsm/softhsm2.conf".into(),
    };
    format!(
        "; SoftHSM reports this when it cannot read its configuration: {named}; set it for the service (Environment=SOFTHSM2_CONF=…), and let its user read that file and the token directory named in it"
    )
}

/// How long a library stays as it is after it was initialised, while none of its tokens signs. A token that comes back
/// does not wait long, and a library that finds nothing is rarely disturbed.
fn renewal_pause(in_vain: u32) -> Duration {
    (limits::MODULE_RENEWAL_PAUSE_MIN * 2u32.saturating_pow(in_vain.min(16))).min(limits::MODULE_RENEWAL_PAUSE_MAX)
}

/// Where distributions and vendors put modules. Debian has a library directory for each architecture.
fn directories() -> Vec<PathBuf> {
    let by_architecture = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut directories = Vec::new();
    for library in [&by_architecture, "/usr/lib64", "/usr/lib", "/usr/local/lib"] {
        let library = Path::new(library);
        directories.extend([library.join("pkcs11"), library.join("softhsm"), library.to_owned()]);
    }
    directories
}

/// The file of a `module-name`: `NAME.so` or `libNAME.so`.
fn find(name: &str) -> Result<PathBuf, String> {
    let directories = directories();
    let files = directories
        .iter()
        .flat_map(|directory| [format!("{name}.so"), format!("lib{name}.so")].map(|file| directory.join(file)));
    files.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        let looked: Vec<_> = directories.iter().map(|directory| directory.display().to_string()).collect();
        format!(
            "no PKCS#11 module has the name `{name}`: neither {name}.so nor lib{name}.so is in {}; name its file by module-path",
            looked.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_initialised_anew_soon_and_then_ever_more_seldom() {
        let pauses: Vec<_> = (0..6).map(|in_vain| renewal_pause(in_vain).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30]);
        assert_eq!(renewal_pause(u32::MAX), limits::MODULE_RENEWAL_PAUSE_MAX);
    }

    #[test]
    fn a_token_is_well_for_as_long_as_an_idle_one_takes_to_be_tested_and_no_longer() {
        let begin = Instant::now();
        let is_well = |failed, after| Health { signed: Some(begin), failed }.is_well(begin + after);
        assert!(is_well(false, Duration::ZERO) && is_well(false, limits::TEST_INTERVAL * 2));
        assert!(!is_well(false, limits::TOKEN_WELL));
        // Other sessions of it may still sign.
        assert!(is_well(true, Duration::from_millis(1_900)) && !is_well(true, Duration::from_secs(2)));
        assert!(!Health::default().is_well(begin));
    }
}
