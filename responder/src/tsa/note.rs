//! Small files in the state directory that are replaced as a whole: one process writes them for the next.
//!
//! Invariant: a reader gets what was written in one write, or an error, and waits for nothing. It does not know the
//! contents.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// Reads the whole of a regular file: any other kind may never end, or block its reader.
pub(super) fn read(path: &Path, bytes_max: u64) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    let bytes = file.take(bytes_max + 1).read_to_string(&mut text)?;
    if bytes as u64 > bytes_max { Err(io::Error::other("it is too long")) } else { Ok(text) }
}

/// Replaces the file by this text, which is on disk when it returns.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let partial = partial(path);
    // Left by a process that was killed, or something that would block its reader.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create_new(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// The directory that is in the place of the file, if there is one. Anything else in the way is removed.
pub(super) fn in_the_way(path: &Path) -> Option<PathBuf> {
    let is_directory = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    [path.to_owned(), partial(path)].into_iter().find(is_directory)
}

/// The name under which the new file is written before it replaces the old one.
fn partial(path: &Path) -> PathBuf {
    path.with_extension("new")
}
