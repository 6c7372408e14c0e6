//! A token as the holder of one key.
//!
//! Invariant: [`Holder::open`] returns a session only if exactly one token and exactly one key on it match, the key is
//! that of the certificate, and a signature made in that session was verified in this process. It does not know what is
//! signed.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use cryptoki::{
    mechanism::MechanismType,
    object::ObjectHandle,
    session::Session as Pkcs11Session,
    slot::{Limit, Slot, TokenInfo},
};
use der::{Decode as _, Encode as _, asn1::BitString};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::{
    Uri,
    fault::Failure,
    key,
    login::LoginContext,
    module::{Inside, Lost, Module, ModuleUse, Renewal, TokenId, TokenUse},
    pin,
    session::{TokenSession, sign_first},
    uri::{KeyWanted, LibraryWanted, SlotWanted, TokenWanted},
};
use crate::{
    limits,
    pki::{Certificate, verify_signed},
    sign::{Algorithm, Fault, FaultClass, Holder, Session},
};

/// A key on a token.
#[derive(Debug)]
pub struct Pkcs11Token {
    /// The token's name in messages.
    called: Arc<str>,
    name: String,
    token: TokenWanted,
    key: KeyWanted,
    module: ModuleUse,
    pin: Option<PathBuf>,
    algorithm: Algorithm,
    public: PublicKey,
    sessions_max: AtomicUsize,
    /// Where the token was in a generation of the module. Looking into every slot each time would fail as soon as
    /// another token of the module fails.
    place: Mutex<Option<Place>>,
    /// Since when the module has not found it, if so.
    lost: Mutex<Option<Instant>>,
}

/// Where a token was found.
#[derive(Debug)]
struct Place {
    generation: u64,
    /// `None` if it has to be looked for.
    slot: Option<Slot>,
    shared: TokenUse,
}

/// The public key whose private half is wanted.
#[derive(Debug, Default)]
pub(super) struct PublicKey {
    spki_der: Vec<u8>,
    octets: Vec<u8>,
}

impl PublicKey {
    /// From the bytes of a subjectPublicKey.
    pub(super) fn of(algorithm: Algorithm, octets: Vec<u8>) -> Self {
        let spki = AlgorithmIdentifierOwned::from_der(algorithm.key_identifier()).and_then(|identifier| {
            let subject_public_key = BitString::from_bytes(&octets)?;
            SubjectPublicKeyInfoOwned { algorithm: identifier, subject_public_key }.to_der()
        });
        // Fails only for more bytes than a length can state.
        Self { spki_der: spki.unwrap_or_default(), octets }
    }
}

impl Pkcs11Token {
    /// The key that `uri` names. It must be the key of `certificate`, and sign with `algorithm`. Loads the module; the
    /// token is not asked yet. Relative paths are relative to `base`.
    pub fn new(uri: &Uri, base: &Path, certificate: &Certificate, algorithm: Algorithm) -> Result<Self, Fault> {
        let octets = certificate.public_key_octets().to_vec();
        Self::with_public(uri, base, PublicKey { spki_der: certificate.spki_der().to_vec(), octets }, algorithm)
    }

    pub(super) fn with_public(uri: &Uri, base: &Path, public: PublicKey, algorithm: Algorithm) -> Result<Self, Fault> {
        let defect = |message: String| Fault::new(FaultClass::Defect, message);
        let module = uri.module.as_ref().ok_or_else(|| {
            defect("names no PKCS#11 module; add its file, such as ?module-path=/usr/lib/softhsm/libsofthsm2.so".into())
        })?;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let pin = uri.pin_source.as_deref().map(|source| pin::file_of(source, base, credentials.as_deref()));
        let name = match &uri.token {
            TokenWanted { label: Some(label), serial: Some(serial), .. } => format!("{label} ({serial})"),
            TokenWanted { label: Some(label), .. } => label.clone(),
            TokenWanted { serial: Some(serial), .. } => serial.clone(),
            token if *token == TokenWanted::default() => "any".into(),
            token => token.to_string(),
        };
        Ok(Self {
            called: format!("the token `{name}`").into(),
            name,
            token: uri.token.clone(),
            key: uri.key.clone(),
            module: Module::load(module, base)?,
            pin: pin.transpose().map_err(defect)?,
            algorithm,
            public,
            sessions_max: AtomicUsize::new(usize::MAX),
            place: Mutex::default(),
            lost: Mutex::default(),
        })
    }

    pub(super) fn set_public(&mut self, public: PublicKey) {
        self.public = public;
    }

    pub(super) fn set_algorithm(&mut self, algorithm: Algorithm) {
        self.algorithm = algorithm;
    }

    /// The algorithm it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes of its subjectPublicKey.
    pub fn public_key_octets(&self) -> &[u8] {
        &self.public.octets
    }

    /// The token's name in messages.
    pub fn called(&self) -> &str {
        &self.called
    }

    /// Runs `work` in a session that may change what the token holds.
    pub(super) fn change<T>(&self, work: impl FnOnce(&Pkcs11Session, &str) -> Result<T, Failure>) -> Result<T, Fault> {
        let inside = self.module.enter()?;
        let (slot, info) = self.find(&inside).map_err(|failure| failure.fault)?;
        let shared = self.module.token(&id_of(&info));
        let context = LoginContext { inside: &inside, slot, info: &info, token: &self.called };
        shared.login.ensure(&context, self.pin.as_deref()).map_err(|failure| failure.fault)?;
        let opened = inside.context.open_rw_session_no_drop(slot);
        let session = opened.map_err(|error| Failure::of(&self.called, &error).fault)?;
        let done = shared.login.holds(&context, &session).and_then(|holds| {
            if !holds {
                shared.login.ensure(&context, self.pin.as_deref())?;
            }
            work(&session, &self.called)
        });
        let generation = inside.generation;
        drop(inside);
        self.module.close(generation, session);
        done.map_err(|failure| failure.fault)
    }

    /// Opens a session. A failure comes with the module generation in which it happened.
    fn try_open(&self) -> Result<TokenSession, (Failure, u64)> {
        let inside = self.module.enter().map_err(|fault| (fault.into(), 0))?;
        self.open_inside(&inside).map_err(|failure| (failure, inside.generation))
    }

    fn open_inside(&self, inside: &Inside<'_>) -> Result<TokenSession, Failure> {
        let (slot, info) = self.find(inside)?;
        self.sessions_max.store(self.sessions_of(&info)?, Ordering::Relaxed);
        let shared = self.module.token(&id_of(&info));
        let context = LoginContext { inside, slot, info: &info, token: &self.called };
        let ensure = || shared.login.ensure(&context, self.pin.as_deref());
        self.check_mechanism(inside, slot)?;
        // Before the session: a token that refuses the PIN is not asked for anything else.
        ensure()?;
        let opened = inside.context.open_ro_session_no_drop(slot);
        let session = opened.map_err(|error| Failure::of(&self.called, &error))?;
        let key = shared.login.holds(&context, &session).and_then(|holds| {
            if !holds {
                ensure()?;
            }
            self.find_key(&session)
        });
        match key {
            Ok(key) => {
                shared.signed(Instant::now());
                Ok(TokenSession {
                    module: self.module.clone(),
                    generation: inside.generation,
                    session: self.module.session_opened(session, &self.called),
                    key,
                    algorithm: self.algorithm,
                    token: Arc::clone(&self.called),
                    shared: shared.clone(),
                })
            }
            Err(failure) => {
                let _ = session.close();
                Err(failure)
            }
        }
    }

    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The module has lost its connection to the token. The first time, the next opening only looks in all slots; after
    /// that, returns what was lost.
    fn lost_for_good(&self, now: Instant) -> Option<Lost<'_>> {
        let shared = self.place().as_mut().map(|place| {
            place.slot = None;
            place.shared.failed();
            place.shared.clone()
        });
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *lost.get_or_insert(now);
        // The first time it is only noted.
        if since == now {
            return None;
        }
        Some(Lost { called: &self.called, shared, since })
    }

    /// Opens a session once more if the module was initialised again for it. Otherwise returns `failure`, with a hint
    /// at the remedy.
    fn open_anew(&self, mut failure: Failure, generation: u64) -> Result<TokenSession, (Failure, u64)> {
        let now = Instant::now();
        match self.lost_for_good(now).map(|lost| self.module.renew(generation, &lost, now)) {
            Some(Renewal::Renewed) => return self.try_open(),
            Some(Renewal::InUse(remedy)) => failure.fault.message = format!("{}; {remedy}", failure.fault.message),
            Some(Renewal::NotNow) | None => {}
        }
        Err((failure, generation))
    }

    /// The slot in which the token is now.
    fn find(&self, inside: &Inside<'_>) -> Result<(Slot, TokenInfo), Failure> {
        // Not held during a call to the library, which may hang.
        let known = self.place().as_ref().filter(|place| place.generation == inside.generation).and_then(|p| p.slot);
        if let Some(slot) = known
            && let Ok(info) = inside.context.get_token_info(slot)
            && self.is_wanted(inside, slot, &info)?
        {
            return Ok((slot, info));
        }
        let slots = inside.context.get_slots_with_token().map_err(|error| Failure::of(&self.module, &error))?;
        let mut found = Vec::new();
        let mut failed = None;
        for slot in slots {
            match inside.context.get_token_info(slot) {
                Ok(info) => found.push((self.is_wanted(inside, slot, &info)?, slot, info)),
                Err(error) => failed = Some(Failure::of(format_args!("{} in slot {slot}", self.module), &error)),
            }
        }
        let matching = found.iter().filter(|(wanted, ..)| *wanted).count();
        if matching == 1 {
            let (_, slot, info) = found.swap_remove(found.iter().position(|(wanted, ..)| *wanted).unwrap_or_default());
            let shared = self.module.token(&id_of(&info));
            *self.place() = Some(Place { generation: inside.generation, slot: Some(slot), shared });
            return Ok((slot, info));
        }
        if matching > 1 {
            let found = found.iter().filter(|(wanted, ..)| *wanted);
            return Err(Failure::defect(format!(
                "{} has more than one token{}: {}; name the one by token=… and serial=…",
                self.module,
                with(&self.token),
                list(found.map(|(_, slot, info)| (slot, info)))
            )));
        }
        // It may be the token that does not identify itself.
        if let Some(failure) = failed {
            return Err(failure);
        }
        let all = list(found.iter().map(|(_, slot, info)| (slot, info)));
        let all = if found.iter().any(|(_, _, info)| info.token_initialized()) {
            all
        } else {
            format!(
                "{all}: initialise one with the module's own tools, such as softhsm2-util --init-token --free --label ocsp"
            )
        };
        let message = match with(&self.token) {
            with if with.is_empty() => format!(
                "{} has no initialised token; initialise one with its own tools, such as softhsm2-util --init-token --free --label ocsp",
                self.module
            ),
            with => format!("{} has no token{with}; it has {all}", self.module),
        };
        Err(Failure { fault: Fault::new(FaultClass::Device, message), lost: true })
    }

    /// Whether a token is the wanted one. Asks slot and library only for what is needed.
    fn is_wanted(&self, inside: &Inside<'_>, slot: Slot, info: &TokenInfo) -> Result<bool, Failure> {
        let failed = |error| Failure::of(&self.module, &error);
        let SlotWanted { id, description, manufacturer } = &self.token.slot;
        if !is_token(&self.token, info) || id.is_some_and(|id| id != slot.id()) {
            return Ok(false);
        }
        if description.is_some() || manufacturer.is_some() {
            let info = inside.context.get_slot_info(slot).map_err(failed)?;
            if !is(description, info.slot_description()) || !is(manufacturer, info.manufacturer_id()) {
                return Ok(false);
            }
        }
        let LibraryWanted { manufacturer, description, version } = &self.token.library;
        if self.token.library == LibraryWanted::default() {
            return Ok(true);
        }
        let info = inside.context.get_library_info().map_err(failed)?;
        let has = (info.library_version().major(), info.library_version().minor());
        Ok(is(description, info.library_description())
            && is(manufacturer, info.manufacturer_id())
            && version.is_none_or(|version| version == has))
    }

    /// Few tokens can do what came with PKCS#11 3.2. Says so plainly before looking for a key that cannot be there.
    fn check_mechanism(&self, inside: &Inside<'_>, slot: Slot) -> Result<(), Failure> {
        let (Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87) = self.algorithm else { return Ok(()) };
        let all = inside.context.get_mechanism_list(slot).map_err(|error| Failure::of(&self.called, &error))?;
        if all.contains(&MechanismType::ML_DSA) {
            return Ok(());
        }
        Err(Failure::defect(format!(
            "{} cannot sign with {}: its module has no CKM_ML_DSA (PKCS#11 3.2); use a module that has it, or a key in a file",
            self.called, self.algorithm
        )))
    }

    /// How many sessions it allows; one is left for the login.
    fn sessions_of(&self, info: &TokenInfo) -> Result<usize, Failure> {
        match info.max_session_count() {
            Limit::Unavailable | Limit::Infinite => Ok(usize::MAX),
            Limit::Max(count @ 0..2) => {
                Err(Failure::defect(format!("{} allows {count} sessions, and two are needed", self.called)))
            }
            Limit::Max(count) => Ok(usize::try_from(count - 1).unwrap_or(usize::MAX)),
        }
    }

    /// The key, after it has signed something that the certificate verifies.
    fn find_key(&self, session: &Pkcs11Session) -> Result<ObjectHandle, Failure> {
        const MESSAGE: &[u8] = b"Ostia token self-test";
        let key = key::find(session, &self.key, &self.called)?;
        let named = format!("the key `{}` on {}", self.key, self.called);
        key::check(session, key, self.algorithm, &self.public.octets, &named)?;
        let signature = sign_first(session, key, self.algorithm, MESSAGE, &named)?;
        let verified = AlgorithmIdentifierOwned::from_der(self.algorithm.identifier())
            .map_err(|error| error.to_string())
            .and_then(|identifier| {
                verify_signed(&self.public.spki_der, &identifier, MESSAGE, &signature)
                    .map_err(|error| error.to_string())
            });
        verified.map_err(|problem| {
            Failure::defect(format!(
                "{named} is not the key of the certificate, or does not sign correctly: what it signs {problem}; name the pair that belongs together"
            ))
        })?;
        Ok(key)
    }
}

impl Holder for Pkcs11Token {
    fn name(&self) -> &str {
        &self.name
    }

    fn sessions_max(&self) -> usize {
        self.sessions_max.load(Ordering::Relaxed)
    }

    fn open(&self) -> Result<Box<dyn Session>, Fault> {
        let opened = match self.try_open() {
            Err((failure, generation)) if failure.lost => self.open_anew(failure, generation),
            opened => opened,
        };
        if !matches!(&opened, Err((failure, _)) if failure.lost) {
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        opened.map(|session| Box::new(session) as Box<dyn Session>).map_err(|(failure, _)| failure.fault)
    }
}

/// Whether a value is the wanted one. PKCS#11 pads such texts with blanks, so trailing blanks are ignored.
fn is(wanted: &Option<String>, is: &str) -> bool {
    wanted.as_deref().is_none_or(|wanted| wanted.trim_end_matches(' ') == is.trim_end_matches(' '))
}

fn is_token(wanted: &TokenWanted, info: &TokenInfo) -> bool {
    let TokenWanted { label, manufacturer, serial, model, slot: _, library: _ } = wanted;
    is(label, info.label())
        && is(manufacturer, info.manufacturer_id())
        && is(serial, info.serial_number())
        && is(model, info.model())
        // SoftHSM has a slot for a token that does not exist yet and has no name.
        && (label.is_some() || info.token_initialized())
}

/// The wanted properties of a token, for a message; empty if any token will do.
fn with(wanted: &TokenWanted) -> String {
    if *wanted == TokenWanted::default() { String::new() } else { format!(" with {wanted}") }
}

fn id_of(info: &TokenInfo) -> TokenId {
    TokenId {
        label: info.label().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        serial: info.serial_number().to_owned(),
    }
}

fn list<'t>(tokens: impl Iterator<Item = (&'t Slot, &'t TokenInfo)>) -> String {
    let mut named: Vec<_> = tokens
        .filter(|(_, info)| info.token_initialized())
        .take(limits::TOKEN_OBJECTS_TOLD_MAX)
        .map(|(slot, info)| {
            let is = TokenWanted {
                label: Some(info.label().to_owned()),
                serial: Some(info.serial_number().to_owned()),
                slot: SlotWanted { id: Some(slot.id()), ..SlotWanted::default() },
                ..TokenWanted::default()
            };
            format!("`{is}`")
        })
        .collect();
    named.sort();
    if named.is_empty() { "none at all".into() } else { named.join(", ") }
}
