//! A PKCS#11 module that wraps another one, and fails on command.
//!
//! Every row of the table of errors has to be met by a test, and no token gives most of them when asked. So this
//! module stands between a program and a real one (SoftHSM), lets everything pass, and injects return values, delays
//! and hangs as a control file says. Three environment variables, read once:
//!
//! | variable | meaning |
//! |---|---|
//! | `OSTIA_SHIM_MODULE` | the module that is wrapped |
//! | `OSTIA_SHIM_CONTROL` | the control file, looked at on each call; it may be absent. Put a new one into place by renaming |
//! | `OSTIA_SHIM_CALLS` | if set: a file to which each wrapped call is appended when it ends, `C_Login token=a CKR_OK` |
//!
//! One order a line; `#` begins a comment line. The first order that aims at a call is carried out, no other:
//!
//! ```text
//! FUNCTION [token=LABEL] [after=N] [times=N] WHAT…
//! ```
//!
//! `FUNCTION` is one of the wrapped functions, or `*` for all. `token=` aims at calls about that token (those without
//! one are C_Initialize, C_Finalize and C_GetSlotList). `after=` lets so many calls pass first, `times=` ends after so many; both are
//! counted from when the file last changed (in any way: a comment will do). `WHAT` is one or more of:
//!
//! | | |
//! |---|---|
//! | `return=CKR_…` | answers so, and does nothing; also a number, `0x30` |
//! | `return-done=CKR_…` | does it, and answers so none the less |
//! | `delay=20ms` | waits before it does anything |
//! | `hang` | waits until the line stands in the file no more; `OSTIA_SHIM_CALLS` gets `C_Sign token=a hangs` at once |
//! | `corrupt` | for C_Sign: does it, and turns a bit of the signature |
//! | `flags=CKF_…` | for C_GetTokenInfo: sets the flag |
//! | `sessions=N` | for C_GetTokenInfo: says that so many sessions may be open; for C_OpenSession: answers CKR_SESSION_COUNT while so many are |
//!
//! A control file that is not understood ends the process: a test would test nothing.
//!
//! JUSTIFICATION for unsafe: a PKCS#11 module is a C library, called through pointers by whoever loads it. All that
//! is done with them is to hand them on to the wrapped module as they came; what is written through them is what the
//! wrapped module has just written to the same places. Nothing of this is linked into what is shipped.
#![allow(non_snake_case)]

mod control;

use std::{
    collections::HashMap,
    env, fs,
    io::Write as _,
    path::PathBuf,
    process,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use control::Order;
use cryptoki_sys::*;

/// How often one that hangs looks whether it still has to.
const LOOK_EVERY: Duration = Duration::from_millis(2);

struct Shim {
    /// Stays loaded: its functions are called through `functions`.
    _module: cryptoki_sys::Pkcs11,
    functions: CK_FUNCTION_LIST,
    control: PathBuf,
    calls: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    content: String,
    orders: Vec<Order>,
    /// How often each order was aimed at a call.
    met: HashMap<String, u64>,
    slots: HashMap<CK_SESSION_HANDLE, CK_SLOT_ID>,
    labels: HashMap<CK_SLOT_ID, String>,
}

/// What a call is about.
#[derive(Clone, Copy)]
enum About {
    Nothing,
    Slot(CK_SLOT_ID),
    Session(CK_SESSION_HANDLE),
}

fn end(why: String) -> ! {
    eprintln!("ostia-pkcs11-shim: {why}");
    process::abort()
}

fn shim() -> &'static Shim {
    static SHIM: OnceLock<Shim> = OnceLock::new();
    SHIM.get_or_init(|| {
        let variable =
            |name: &str| env::var_os(name).map(PathBuf::from).unwrap_or_else(|| end(format!("{name} is not set")));
        let path = variable("OSTIA_SHIM_MODULE");
        // SAFETY: loading runs the initialisers of a PKCS#11 module, which is what the tests name here.
        let module = unsafe { cryptoki_sys::Pkcs11::new(&path) };
        let module = module.unwrap_or_else(|error| end(format!("{}: {error}", path.display())));
        let mut list = std::ptr::null_mut();
        // SAFETY: the function is one of the standard, and is given a place to write a pointer to.
        let value = unsafe { module.C_GetFunctionList(&mut list) };
        if value != CKR_OK || list.is_null() {
            end(format!("{}: C_GetFunctionList says {value:#x}", path.display()));
        }
        // SAFETY: it has said that it wrote a pointer to its list, which lives as long as the module.
        let functions = unsafe { *list };
        Shim {
            _module: module,
            functions,
            control: variable("OSTIA_SHIM_CONTROL"),
            calls: env::var_os("OSTIA_SHIM_CALLS").map(PathBuf::from),
            state: Mutex::default(),
        }
    })
}

impl Shim {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn label(&self, about: About) -> Option<String> {
        let slot = match about {
            About::Nothing => return None,
            About::Slot(slot) => slot,
            About::Session(session) => *self.lock().slots.get(&session)?,
        };
        if let Some(label) = self.lock().labels.get(&slot) {
            return Some(label.clone());
        }
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: a place to write to is all that the function needs.
        let value = unsafe { self.functions.C_GetTokenInfo?(slot, &mut info) };
        if value != CKR_OK {
            return None;
        }
        let label = String::from_utf8_lossy(&info.label).trim_end().to_owned();
        self.lock().labels.insert(slot, label.clone());
        Some(label)
    }

    /// Sessions with a token that this process has.
    fn open_sessions(&self, about: About) -> u64 {
        let About::Slot(slot) = about else { return 0 };
        self.lock().slots.values().filter(|other| **other == slot).count() as u64
    }

    /// The order that aims at this call, counted.
    fn order(&self, function: &str, token: Option<&str>) -> Option<Order> {
        let content = fs::read_to_string(&self.control).unwrap_or_default();
        let mut state = self.lock();
        if content != state.content {
            state.orders = control::parse(&content).unwrap_or_else(|error| end(error));
            state.content = content;
            state.met.clear();
        }
        let State { orders, met, .. } = &mut *state;
        let order = orders.iter().find(|order| {
            let aims = (order.function == "*" || order.function == function)
                && (order.token.is_none() || order.token.as_deref() == token);
            if !aims {
                return false;
            }
            let count = met.entry(order.line.clone()).or_default();
            *count += 1;
            *count > order.after && order.times.is_none_or(|times| *count <= order.after + times)
        });
        order.cloned()
    }

    fn tell(&self, text: &str) {
        let Some(path) = &self.calls else { return };
        let file = fs::File::options().create(true).append(true).open(path);
        // One write: lines of several threads do not mix.
        file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()))
            .unwrap_or_else(|error| end(format!("{}: {error}", path.display())));
    }

    /// Carries a call out as the orders say.
    fn call(&self, function: &str, about: About, real: impl FnOnce(Option<&Order>) -> CK_RV) -> CK_RV {
        let token = self.label(about);
        let who = token.as_deref().map_or_else(|| function.to_owned(), |label| format!("{function} token={label}"));
        let order = self.order(function, token.as_deref());
        let mut value = None;
        if let Some(order) = &order {
            thread::sleep(order.delay);
            if order.hang {
                self.tell(&format!("{who} hangs"));
                let stands = || {
                    fs::read_to_string(&self.control)
                        .is_ok_and(|text| text.lines().any(|line| line.trim() == order.line))
                };
                while stands() {
                    thread::sleep(LOOK_EVERY);
                }
            }
            let is_full = |most: u64| function == "C_OpenSession" && self.open_sessions(about) >= most;
            value = order.returns.or_else(|| order.sessions.filter(|most| is_full(*most)).map(|_| CKR_SESSION_COUNT));
        }
        let mut value = value.unwrap_or_else(|| real(order.as_ref()));
        if let Some(done) = order.and_then(|order| order.returns_done) {
            value = done;
        }
        self.tell(&format!("{who} {}", control::name(value)));
        value
    }
}

/// A function that the orders can aim at: its name, its parameters, what it is about, and what is done beside it.
macro_rules! wrapped {
    ($name:ident($($argument:ident: $type:ty),*) about $about:expr $(, then |$value:ident, $order:ident| $then:expr)?) => {
        /// As in the standard.
        ///
        /// # Safety
        ///
        /// As the wrapped module demands.
        unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            let shim = shim();
            let Some(real) = shim.functions.$name else { return CKR_FUNCTION_NOT_SUPPORTED };
            shim.call(stringify!($name), $about, |_order| {
                // SAFETY: the caller's arguments are handed on as they are.
                let value = unsafe { real($($argument),*) };
                $(
                    let ($value, $order) = (value, _order);
                    $then
                )?
                value
            })
        }
    };
}

wrapped!(C_Initialize(arguments: *mut std::ffi::c_void) about About::Nothing);
wrapped!(C_Finalize(reserved: *mut std::ffi::c_void) about About::Nothing, then |_value, _order| {
    // Slots can be others after it.
    let mut state = shim().lock();
    state.slots.clear();
    state.labels.clear();
});
wrapped!(C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) about About::Nothing);
wrapped!(C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) about About::Slot(slot), then |value, order| {
    if let (CKR_OK, Some(order)) = (value, order) {
        // SAFETY: the wrapped module has just written to it.
        let info = unsafe { &mut *info };
        info.flags |= order.flags;
        info.ulMaxSessionCount = order.sessions.unwrap_or(info.ulMaxSessionCount);
    }
});
wrapped!(C_OpenSession(
    slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut std::ffi::c_void, notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE
) about About::Slot(slot), then |value, _order| {
    if value == CKR_OK {
        // SAFETY: the wrapped module has just written to it.
        let session = unsafe { *session };
        shim().lock().slots.insert(session, slot);
    }
});
wrapped!(C_CloseSession(session: CK_SESSION_HANDLE) about About::Session(session), then |value, _order| {
    if value == CKR_OK {
        shim().lock().slots.remove(&session);
    }
});
wrapped!(C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) about About::Session(session));
wrapped!(C_Login(
    session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, length: CK_ULONG
) about About::Session(session));
wrapped!(C_Logout(session: CK_SESSION_HANDLE) about About::Session(session));
wrapped!(C_FindObjectsInit(
    session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
) about About::Session(session));
wrapped!(C_FindObjects(
    session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, places: CK_ULONG, count: *mut CK_ULONG
) about About::Session(session));
wrapped!(C_FindObjectsFinal(session: CK_SESSION_HANDLE) about About::Session(session));
wrapped!(C_GetAttributeValue(
    session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
) about About::Session(session));
wrapped!(C_SignInit(
    session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE
) about About::Session(session));
wrapped!(C_Sign(
    session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_length: CK_ULONG, signature: *mut CK_BYTE,
    length: *mut CK_ULONG
) about About::Session(session), then |value, order| {
    if value == CKR_OK && order.is_some_and(|order| order.corrupt) && !signature.is_null() {
        // SAFETY: the wrapped module has just written a signature to it, which is never empty.
        unsafe { *signature ^= 1 };
    }
});

/// The one function that is exported: the table of all others.
///
/// # Safety
///
/// As the standard demands: `list` is a place to write a pointer to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    struct List(CK_FUNCTION_LIST);
    // SAFETY: pointers to functions, which any thread may call.
    unsafe impl Sync for List {}
    // SAFETY: the same.
    unsafe impl Send for List {}
    static LIST: OnceLock<List> = OnceLock::new();
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let wrapped = LIST.get_or_init(|| {
        List(CK_FUNCTION_LIST {
            C_GetFunctionList: Some(C_GetFunctionList),
            C_Initialize: Some(C_Initialize),
            C_Finalize: Some(C_Finalize),
            C_GetSlotList: Some(C_GetSlotList),
            C_GetTokenInfo: Some(C_GetTokenInfo),
            C_OpenSession: Some(C_OpenSession),
            C_CloseSession: Some(C_CloseSession),
            C_GetSessionInfo: Some(C_GetSessionInfo),
            C_Login: Some(C_Login),
            C_Logout: Some(C_Logout),
            C_FindObjectsInit: Some(C_FindObjectsInit),
            C_FindObjects: Some(C_FindObjects),
            C_FindObjectsFinal: Some(C_FindObjectsFinal),
            C_GetAttributeValue: Some(C_GetAttributeValue),
            C_SignInit: Some(C_SignInit),
            C_Sign: Some(C_Sign),
            ..shim().functions
        })
    });
    // SAFETY: the caller's place; callers do not write to the table.
    unsafe { *list = (&raw const wrapped.0).cast_mut() };
    CKR_OK
}
