//! A PKCS#11 library in this process: initialised once, shared by all signers of all its tokens.
//!
//! Invariant: no call is made while the library is being initialised, and none with a handle from before. A library
//! that has lost its way to a token (its server was restarted) is initialised anew, seldom, never while another of its
//! tokens is well, and only in a moment when nobody is inside; whoever had a session then finds that its generation is
//! over.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};
use tracing::{info, warn};

use super::{
    fault::fault,
    gate::{Gate, Share},
    login::Login,
    uri::ModuleWanted,
};
use crate::{
    limits,
    sign::{Fault, FaultClass},
};

/// A loaded library. It stays loaded for the life of the process.
pub(super) struct Module {
    /// As it was named first.
    path: PathBuf,
    /// Behind all links: the same file is the same library.
    file: PathBuf,
    context: Pkcs11,
    gate: Gate,
    /// Which initialisation holds; 0: none.
    generation: AtomicU64,
    history: Mutex<History>,
    tokens: Mutex<Vec<(TokenId, Arc<Shared>)>>,
}

/// What all who use a token in this process share.
#[derive(Default, Debug)]
pub(super) struct Shared {
    pub(super) login: Login,
    health: Mutex<Health>,
}

#[derive(Default)]
struct History {
    generations: u64,
    last: Option<Instant>,
    /// How often it was initialised anew since a session was last opened.
    in_vain: u32,
    /// Tokens of which it was told that they wait for others.
    waiting_told: Vec<Arc<str>>,
}

/// How a token did when somebody last used it.
#[derive(Clone, Copy, Default, Debug)]
struct Health {
    /// When it last signed.
    signed: Option<Instant>,
    /// It has failed since.
    failed: bool,
}

impl Health {
    /// Whether it would lose sessions that somebody signs in.
    fn is_well(self, now: Instant) -> bool {
        let lasts = if self.failed { limits::MODULE_RENEWAL_PAUSE_MIN } else { limits::TOKEN_WELL };
        self.signed.is_some_and(|signed| now.saturating_duration_since(signed) < lasts)
    }
}

impl Shared {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has signed.
    pub(super) fn signed(&self, now: Instant) {
        *self.health() = Health { signed: Some(now), failed: false };
    }

    /// It is gone, or broken.
    pub(super) fn failed(&self) {
        self.health().failed = true;
    }

    /// Whether it has signed after that.
    fn has_signed_since(&self, moment: Instant) -> bool {
        self.health().signed.is_some_and(|signed| signed > moment)
    }
}

/// What tells a token from all others, wherever it is plugged in: slots change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TokenId {
    pub(super) label: String,
    pub(super) manufacturer: String,
    pub(super) model: String,
    pub(super) serial: String,
}

/// A token to which the library has lost its way, as one sees it who looks for it.
pub(super) struct Lost<'t> {
    /// What it is called in messages.
    pub(super) called: &'t Arc<str>,
    /// Where it was ever found: it.
    pub(super) shared: Option<Arc<Shared>>,
    /// Since when it has not been found.
    pub(super) since: Instant,
}

/// What came of wanting the library to be initialised anew.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Renewal {
    /// There is a new generation to try it with.
    Renewed,
    /// It is not done now.
    NotNow,
    /// It is not done while another token signs, and somebody has to see to it. For people.
    InUse(String),
}

/// A share of the library: as long as it lives, the generation holds.
pub(super) struct Inside<'m> {
    pub(super) context: &'m Pkcs11,
    pub(super) generation: u64,
    _share: Share<'m>,
}

/// Why a library is left as it is.
enum Beside {
    /// Another token, of this label, has signed since the one that is looked for was lost.
    Signs(String),
    /// One may have sessions, and nobody knows yet whether it is still there.
    MaySign,
}

/// One for each file, however it is named, and never unloaded: others may still be in it.
static MODULES: Mutex<Vec<Arc<Module>>> = Mutex::new(Vec::new());

impl Module {
    /// The library in a file, loaded on the first call. `base` is where the configuration lies.
    pub(super) fn load(wanted: &ModuleWanted, base: &Path) -> Result<Arc<Self>, Fault> {
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
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(&file).map_err(|error| {
            let asked = format!("{} cannot be loaded as a PKCS#11 module", named.display());
            fault(asked, &error)
        })?;
        let module = Arc::new(Self {
            path: named,
            file,
            context,
            gate: Gate::default(),
            generation: AtomicU64::new(0),
            history: Mutex::default(),
            tokens: Mutex::default(),
        });
        modules.push(Arc::clone(&module));
        Ok(module)
    }

    /// What one has to hold while calling the library; the first initialises it.
    pub(super) fn enter(&self) -> Result<Inside<'_>, Fault> {
        if self.generation.load(Ordering::Acquire) == 0 {
            let _alone = self.gate.alone(limits::MODULE_ENTER_WAIT).ok_or_else(|| self.occupied())?;
            if self.generation.load(Ordering::Acquire) == 0 {
                self.initialise(Instant::now())?;
            }
        }
        let share = self.gate.enter(limits::MODULE_ENTER_WAIT).ok_or_else(|| self.occupied())?;
        match self.generation.load(Ordering::Acquire) {
            // The last attempt to initialise it anew has failed, a moment ago.
            0 => Err(self.occupied()),
            generation => Ok(Inside { context: &self.context, generation, _share: share }),
        }
    }

    /// The same for one with a handle of this generation.
    pub(super) fn enter_again(&self, generation: u64) -> Result<Inside<'_>, Fault> {
        let over =
            || Fault::new(FaultClass::Session, format!("{self} was initialised anew, and its sessions are gone"));
        if self.generation.load(Ordering::Acquire) != generation {
            return Err(over());
        }
        let share = self.gate.enter(limits::MODULE_ENTER_WAIT).ok_or_else(|| self.occupied())?;
        // Nobody changes it as long as there are shares.
        if self.generation.load(Ordering::Acquire) != generation {
            return Err(over());
        }
        Ok(Inside { context: &self.context, generation, _share: share })
    }

    /// No fault of the token that somebody wanted to use.
    fn occupied(&self) -> Fault {
        Fault::new(FaultClass::Session, format!("{self} is being initialised anew"))
    }

    /// Initialises the library anew where that is due, for one who found in this generation that it has lost its way
    /// to a token.
    pub(super) fn renew(&self, generation: u64, lost: &Lost<'_>, now: Instant) -> Renewal {
        let in_use = self.in_use_beside(lost, now);
        {
            let mut history = self.history();
            if self.generation.load(Ordering::Acquire) != generation {
                return Renewal::Renewed;
            }
            match in_use {
                Some(Beside::Signs(label)) => {
                    let text = format!(
                        "it may take initialising {self} anew to find it, which is not done while its token «{label}» signs: restart the service, or give each token a library of its own"
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
        self.generation.store(0, Ordering::Release);
        match self.context.clone().finalize() {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
            Err(error) => warn!(module = %self.path.display(), %error, "C_Finalize failed"),
        }
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

    /// Whether another token would lose its sessions. That of the one who looks for it counts only where sessions that
    /// were opened before go on signing.
    fn in_use_beside(&self, lost: &Lost<'_>, now: Instant) -> Option<Beside> {
        let is_own = |token: &Arc<Shared>| lost.shared.as_ref().is_some_and(|own| Arc::ptr_eq(own, token));
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

    /// Called by one who is alone inside.
    fn initialise(&self, now: Instant) -> Result<(), Fault> {
        match self.context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another part of this process has done it.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(fault(self, &error)),
        }
        let mut history = self.history();
        history.generations += 1;
        history.last = Some(now);
        history.waiting_told.clear();
        self.generation.store(history.generations, Ordering::Release);
        Ok(())
    }

    /// Somebody has opened a session to sign in, with a token that is called so.
    pub(super) fn session_opened(&self, called: &str) {
        let mut history = self.history();
        history.in_vain = 0;
        history.waiting_told.retain(|told| **told != *called);
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, Vec<(TokenId, Arc<Shared>)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all who use a token in this process share.
    pub(super) fn shared(&self, token: &TokenId) -> Arc<Shared> {
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

/// How long a library stays as it is after it was initialised, once none of its tokens signs: a token that comes back
/// is not kept waiting, and a library that finds nothing is left in peace.
fn renewal_pause(in_vain: u32) -> Duration {
    (limits::MODULE_RENEWAL_PAUSE_MIN * 2u32.saturating_pow(in_vain.min(16))).min(limits::MODULE_RENEWAL_PAUSE_MAX)
}

/// Where distributions and vendors put modules; Debian has its library directory by architecture.
fn directories() -> Vec<PathBuf> {
    let by_architecture = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut directories = Vec::new();
    for library in [&by_architecture, "/usr/lib64", "/usr/lib", "/usr/local/lib"] {
        let library = Path::new(library);
        directories.extend([library.join("pkcs11"), library.join("softhsm"), library.to_owned()]);
    }
    directories
}

/// The file of a `module-name`: the name without `lib` before and `.so` behind.
fn find(name: &str) -> Result<PathBuf, String> {
    let directories = directories();
    let files = directories
        .iter()
        .flat_map(|directory| [format!("{name}.so"), format!("lib{name}.so")].map(|file| directory.join(file)));
    files.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        let looked: Vec<_> = directories.iter().map(|directory| directory.display().to_string()).collect();
        format!(
            "no PKCS#11 module has the name «{name}»: neither {name}.so nor lib{name}.so is in {}; name its file by module-path",
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
        // Others of its sessions may sign on.
        assert!(is_well(true, Duration::from_millis(1_900)) && !is_well(true, Duration::from_secs(2)));
        assert!(!Health::default().is_well(begin));
    }
}
