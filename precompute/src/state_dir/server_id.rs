//! The identity of a server: what it is called wherever servers are told apart, now and in years.
//!
//! Purpose: `server_id` holds a random UUID (version 4, RFC 9562), made at the first start. Invariant: no two running
//! servers have the same one because somebody copied a directory. So the file is bound to its place: it also holds a
//! SHA-256 over the machine's id (`/etc/machine-id`) and the inode number of the file itself. A copy of the directory
//! has another inode, and on another machine another id; it is refused until `ostia-precompute server adopt` draws a new
//! id. A restart, a mount elsewhere and a rename of the directory keep both. The number of the device is not used, since
//! it may change at a restart of the machine.
//!
//! It does not know a clone of a whole machine that keeps `/etc/machine-id`: systemd-firstboot(1) says how to give
//! clones ids of their own. On file systems of FUSE the inode may change with each mount; they are warned of.

use std::{
    fmt, fs,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use aws_lc_rs::{digest, rand};
use tracing::{info, warn};

use super::{OF_DIRECTORY, OF_FILE_OF_OURS, StateError, give, lock::host, remedy_of_write};
use crate::{
    limits,
    pki::{hex, read_bounded},
};

/// The file with the identity,
const FILE: &str = "server_id";
/// and before it is whole.
const UNFINISHED: &str = "server_id.new";
/// The identities before, a line each.
const FORMER: &str = "server_id.former";
/// What identifies the machine, machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";

const OF_COPY: &str = "a server has an identity of its own: if this is to be another server, or the other one is gone for good, run `ostia-precompute server adopt --config FILE`, which draws a new one";
const OF_DAMAGE: &str = "restore the file by `ostia-precompute server adopt --config FILE`, which draws a new identity; it is never replaced without being asked";

/// What a start says of a file whose place cannot be known.
const UNKNOWN: &str = "/etc/machine-id is missing, empty or unreadable, so nobody can know whether this state directory was copied from another machine; it counts as no copy; make the file (`systemd-machine-id-setup`, or in a container mount the host's), or if this is another server, run `ostia-precompute server adopt --config FILE`";

/// A server's identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ServerId([u8; 16]);

impl ServerId {
    fn draw() -> io::Result<Self> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| io::Error::other("the system has no random numbers"))?;
        // RFC 9562 section 5.4: version 4, variant 10.
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        Ok(Self(id))
    }

    /// From its text, which is written in one way only.
    pub fn read(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let mut id = Self([0; 16]);
        for (place, pair) in digits.chunks(2).enumerate() {
            *id.0.get_mut(place)? = hex::byte(pair[0], *pair.get(1)?)?;
        }
        // It has to be written in one way only.
        (id.to_string() == text && id.0[6] >> 4 == 4 && id.0[8] >> 6 == 2).then_some(id)
    }

    /// From its 16 bytes, as another server tells them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

/// As in RFC 9562: `xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx`.
impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A file as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The identity.
    pub id: ServerId,
    /// The machine that it was made on, for people.
    pub host: String,
    /// Whether it was made here.
    pub place: Place,
}

/// Whether a file was made in its directory, on its machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It was.
    Here,
    /// The machine has no id by which that could be known.
    Unknown,
    /// It is a copy.
    Elsewhere,
}

/// What the machine is known by.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// From `/etc/machine-id`; `None` if it names no id.
    id: Option<Vec<u8>>,
    host: String,
}

/// What a file is bound to, and how its line begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bond {
    /// The inode, and the machine.
    Machine,
    /// The inode alone: the machine had no id.
    File,
}

impl Bond {
    const fn key(self) -> &'static str {
        match self {
            Self::Machine => "bound",
            Self::File => "bound-to-file",
        }
    }
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        let id = read_bounded(Path::new(MACHINE_ID), limits::STATE_NOTE_OCTETS_MAX).unwrap_or_default();
        Self::of(&id, host())
    }

    /// `id`: the content of the file; empty if there is none.
    fn of(id: &[u8], host: String) -> Self {
        let id = id.trim_ascii();
        // machine-id(5): the word stands there during a first boot.
        let is_id = !id.is_empty() && id != b"uninitialized";
        Self { id: is_id.then(|| id.to_owned()), host }
    }

    /// What a new file is bound to.
    fn bond(&self) -> Bond {
        if self.id.is_some() { Bond::Machine } else { Bond::File }
    }

    /// What binds a file with this inode; `None` if the machine would have to have an id.
    fn seal(&self, bond: Bond, inode: u64) -> Option<String> {
        let id = match bond {
            Bond::Machine => self.id.as_deref()?,
            Bond::File => b"",
        };
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [id, b"\0", &inode.to_be_bytes()] {
            context.update(part);
        }
        Some(hex::text(context.finish().as_ref()))
    }
}

/// The identity in a state directory, if there is one.
pub(super) fn look(state_dir: &Path, machine: &Machine) -> Result<Option<Found>, StateError> {
    let path = state_dir.join(FILE);
    let read = || -> io::Result<(u64, Vec<u8>)> {
        let file = File::open(&path)?;
        let (inode, mut content) = (file.metadata()?.ino(), Vec::new());
        file.take(limits::STATE_NOTE_OCTETS_MAX).read_to_end(&mut content)?;
        Ok((inode, content))
    };
    let (inode, content) = match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| StateError::new(&path, format!("cannot be read: {error}"), OF_FILE_OF_OURS))?,
    };
    let damaged = || StateError::new(&path, "is damaged: it holds no identity of a server", OF_DAMAGE).damage();
    let text = std::str::from_utf8(&content).map_err(|_| damaged())?;
    let (id, bond, bound, host) = parse(text).ok_or_else(damaged)?;
    let place = match machine.seal(bond, inode) {
        None => Place::Unknown,
        Some(seal) if seal == bound => Place::Here,
        Some(_) => Place::Elsewhere,
    };
    Ok(Some(Found { id, host: host.to_owned(), place }))
}

/// The id, what it is bound to, and the host. A file that ends too early is none.
fn parse(text: &str) -> Option<(ServerId, Bond, &str, &str)> {
    let mut lines = text.strip_suffix('\n')?.split('\n').map(|line| line.split_once(' '));
    let mut line = || lines.next().flatten();
    let ("id", id) = line()? else { return None };
    let (bond, bound) = line()?;
    let bond = [Bond::Machine, Bond::File].into_iter().find(|known| known.key() == bond)?;
    let ("host", host) = line()? else { return None };
    (bound.len() == 64 && lines.next().is_none()).then_some((ServerId::read(id)?, bond, bound, host))
}

/// The identity of the server whose directory this is, if there is one. It is an error if it is another's.
pub(super) fn own(state_dir: &Path, machine: &Machine) -> Result<Option<ServerId>, StateError> {
    match look(state_dir, machine)? {
        None => Ok(None),
        Some(Found { id, place: Place::Here | Place::Unknown, .. }) => Ok(Some(id)),
        Some(Found { id, host, place: Place::Elsewhere }) => {
            let problem = format!(
                "holds the identity {id} of another server: it was made on the machine `{host}`, and this is a copy of that directory on `{}`",
                machine.host
            );
            Err(StateError::new(&state_dir.join(FILE), problem, OF_COPY))
        }
    }
}

/// The identity of the server whose directory this is; the first call makes it.
pub(super) fn take(state_dir: &Path, machine: &Machine) -> Result<ServerId, StateError> {
    if let Some(id) = own(state_dir, machine)? {
        if machine.id.is_none()
            && let Some(Found { host, place: Place::Unknown, .. }) = look(state_dir, machine)?
        {
            warn!(%id, directory = %state_dir.display(), made_on = host, "{UNKNOWN}");
        }
        return Ok(id);
    }
    let id = make(state_dir, machine)?;
    info!(%id, directory = %state_dir.display(), "this server has an identity from now on");
    Ok(id)
}

/// Draws a new identity in place of the one that is there; returns both, the old one as text.
pub(super) fn adopt(state_dir: &Path, machine: &Machine) -> Result<(Option<String>, ServerId), StateError> {
    let old = match look(state_dir, machine) {
        Ok(found) => found.map(|found| {
            note_former(state_dir, found.id);
            format!("{} of `{}`", found.id, found.host)
        }),
        Err(error) if error.is_damage() => Some("one that is damaged".into()),
        Err(error) => return Err(error),
    };
    let id = make(state_dir, machine)?;
    let former = old.as_deref().unwrap_or("none");
    warn!(former, %id, directory = %state_dir.display(), "the server has a new identity");
    Ok((old, id))
}

/// The identities that the directory had before, as far as they were noted: an adoption says that they are the same
/// server's past.
pub(super) fn former(state_dir: &Path) -> Vec<ServerId> {
    let noted = read_bounded(&state_dir.join(FORMER), limits::STATE_NOTE_OCTETS_MAX).unwrap_or_default();
    String::from_utf8_lossy(&noted).lines().filter_map(ServerId::read).collect()
}

/// Notes one more of them. Where that fails, it is a stranger's.
fn note_former(state_dir: &Path, id: ServerId) {
    let path = state_dir.join(FORMER);
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let noted = opened.and_then(|mut file| {
        give(state_dir, &path, &file);
        writeln!(file, "{id}")?;
        file.sync_all()
    });
    if let Err(error) = noted {
        warn!(file = %path.display(), %error, "the former identity could not be noted: its journals will be refused");
    }
}

/// Writes a new file, whole or not at all.
fn make(state_dir: &Path, machine: &Machine) -> Result<ServerId, StateError> {
    let (path, unfinished) = (state_dir.join(FILE), state_dir.join(UNFINISHED));
    let write = || -> io::Result<ServerId> {
        let id = ServerId::draw()?;
        // From a start that was killed.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        give(state_dir, &unfinished, &file);
        // A rename keeps the inode.
        let bond = machine.bond();
        let bound = machine.seal(bond, file.metadata()?.ino()).unwrap_or_default();
        file.write_all(format!("id {id}\n{} {bound}\nhost {}\n", bond.key(), machine.host).as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(state_dir)?.sync_all()?;
        Ok(id)
    };
    write().map_err(|error| {
        StateError::new(&path, format!("cannot be made: {error}"), remedy_of_write(&error, OF_DIRECTORY))
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

    use super::*;

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(FILE)
    }

    fn machine(id: &str, host: &str) -> Machine {
        Machine::of(id.as_bytes(), host.into())
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        fs::copy(from.join(FILE), to.join(FILE)).unwrap();
    }

    #[test]
    fn an_identity_is_made_once_and_stays_whatever_the_directory_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let (state, moved) = (dir.path().join("state"), dir.path().join("moved"));
        fs::create_dir(&state).unwrap();
        let here = machine("1234", "a");
        assert_eq!(look(&state, &here).unwrap(), None);
        // As after a kill in the middle of the first start.
        fs::write(state.join(UNFINISHED), "id").unwrap();
        let id = take(&state, &here).unwrap();
        assert_eq!(take(&state, &here).unwrap(), id);
        let mode = fs::metadata(path(&state)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert!(!state.join(UNFINISHED).exists());
        fs::rename(&state, &moved).unwrap();
        // The host may get another name.
        assert_eq!(take(&moved, &machine("1234", "b")).unwrap(), id);
        let uuid = id.to_string();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
        assert_eq!(ServerId::read(&uuid), Some(id));
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        assert_ne!(take(&other, &here).unwrap(), id, "a restore without the file is another server");
    }

    #[test]
    fn a_copy_is_refused_with_both_machines_until_it_is_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let (state, copied) = (dir.path().join("state"), dir.path().join("copy"));
        fs::create_dir(&state).unwrap();
        let here = machine("1234", "old-host");
        let id = take(&state, &here).unwrap();
        copy(&state, &copied);
        for (place, there) in
            [(&copied, &here), (&state, &machine("8", "new-host")), (&copied, &machine("9", "new-host"))]
        {
            let refused = take(place, there).unwrap_err();
            let text = refused.to_string();
            assert!(!refused.is_damage() && text.contains("`old-host`") && text.contains(&id.to_string()), "{text}");
            assert!(text.contains(&format!("`{}`", there.host)) && text.ends_with(OF_COPY), "{text}");
            assert_eq!(
                look(place, there).unwrap(),
                Some(Found { id, host: "old-host".into(), place: Place::Elsewhere })
            );
        }
        let (old, new) = adopt(&copied, &machine("9", "new-host")).unwrap();
        assert_eq!(old.unwrap(), format!("{id} of `old-host`"));
        assert_eq!(take(&copied, &machine("9", "new-host")).unwrap(), new);
        assert_ne!(new, id);
        assert_eq!(take(&state, &here).unwrap(), id, "the other one is as it was");
    }

    /// A machine that had lost the file, or a container without one, was told that its directory was a copy.
    #[test]
    fn without_a_machine_id_a_directory_counts_as_no_copy_unless_its_inode_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (state, copied) = (dir.path().join("state"), dir.path().join("copy"));
        fs::create_dir(&state).unwrap();
        let nameless = ["", "\n", "uninitialized\n"].map(|content| machine(content, "new-host"));
        let id = take(&state, &machine("1234", "old-host")).unwrap();
        for there in &nameless {
            assert_eq!(look(&state, there).unwrap().unwrap().place, Place::Unknown);
            assert_eq!(take(&state, there).unwrap(), id);
        }
        assert_eq!(look(&state, &machine("1234", "a")).unwrap().unwrap().place, Place::Here, "the file is as it was");
        // One that was made without stays at home once the machine has an id, and its copy is known for one.
        adopt(&state, &nameless[0]).unwrap();
        copy(&state, &copied);
        for there in nameless.iter().chain([&machine("1234", "a")]) {
            assert_eq!(look(&state, there).unwrap().unwrap().place, Place::Here);
            assert!(take(&copied, there).unwrap_err().to_string().ends_with(OF_COPY));
        }
        assert!(UNKNOWN.contains(MACHINE_ID));
    }

    #[test]
    fn a_file_that_is_cut_or_damaged_is_told_and_stays_until_it_is_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let here = machine("1234", "a");
        take(dir.path(), &here).unwrap();
        let whole = fs::read(path(dir.path())).unwrap();
        let with = |place: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            bytes
        };
        let more = [&whole[..], b"more\n"].concat();
        let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
        // A letter of the id, its version, its variant, a byte that is no text, lines too many, a file too large.
        let wrong = [with(3, b'g'), with(17, b'5'), with(22, b'7'), with(4, 0xff), more, vec![b'x'; 1 << 20]];
        for bytes in cuts.chain(wrong) {
            fs::write(path(dir.path()), &bytes).unwrap();
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
            let Err(refused) = take(dir.path(), &here) else { panic!("{shown}") };
            assert!(refused.to_string().contains("server_id"), "{refused}");
            assert_eq!(fs::read(path(dir.path())).unwrap(), bytes, "it was replaced");
        }
        fs::write(path(dir.path()), &whole[..10]).unwrap();
        let refused = take(dir.path(), &here).unwrap_err();
        assert!(refused.is_damage() && refused.to_string().ends_with(OF_DAMAGE), "{refused}");
        let (old, id) = adopt(dir.path(), &here).unwrap();
        assert_eq!(old.as_deref(), Some("one that is damaged"));
        assert_eq!(take(dir.path(), &here).unwrap(), id);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(path(dir.path())).unwrap();
        for refused in
            [take(dir.path(), &machine("", "a")).unwrap_err(), adopt(dir.path(), &machine("", "a")).unwrap_err()]
        {
            let text = refused.to_string();
            assert!(text.contains("server_id: cannot be read") && text.ends_with(OF_FILE_OF_OURS), "{text}");
        }
    }
}
