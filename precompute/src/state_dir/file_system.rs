//! Where a state directory may be: what the file systems promise to a database that must survive a crash; and which files
//! are on other machines.
//!
//! Purpose: network file systems are refused, since locks and fsync(2) on them depend on servers, mount options and
//! leases, and two machines may have the same directory. Invariant: a file system that is not known here is not refused.
//! It does not know what is kept there.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use rustix::fs::{major, minor, statfs};

/// What is to be said of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is refused; its name.
    Network(&'static str),
    /// It depends on a program.
    Fuse,
    /// It is gone after a restart of the machine; its name.
    Memory(&'static str),
    /// Nothing.
    Fine,
}

/// The values of statfs(2)'s `f_type`, from linux/magic.h and the file systems' own sources.
const KNOWN: [(u32, Verdict); 17] = [
    (0x6969, Verdict::Network("NFS")),
    (0xff53_4d42, Verdict::Network("CIFS")),
    (0xfe53_4d42, Verdict::Network("SMB")),
    (0x517b, Verdict::Network("SMB")),
    (0x0102_1997, Verdict::Network("9p")),
    (0x5346_414f, Verdict::Network("AFS")),
    (0x6b41_4653, Verdict::Network("AFS")),
    (0x00c3_6400, Verdict::Network("Ceph")),
    (0x0116_1970, Verdict::Network("GFS2")),
    (0x7461_636f, Verdict::Network("OCFS2")),
    (0x0bd0_0bd0, Verdict::Network("Lustre")),
    (0x4750_4653, Verdict::Network("GPFS")),
    (0x1983_0326, Verdict::Network("BeeGFS")),
    (0x7375_7245, Verdict::Network("Coda")),
    (0x6573_5546, Verdict::Fuse),
    (0x0102_1994, Verdict::Memory("tmpfs")),
    (0x8584_58f6, Verdict::Memory("ramfs")),
];

/// What is to be said of the file system of `path`, which exists.
pub(super) fn verdict(path: &Path) -> Verdict {
    // One that cannot be asked is found out by who opens the book.
    statfs(path).map_or(Verdict::Fine, |stat| of_type(stat.f_type as u32))
}

/// The network file system of `path`, if it is on one, such as `NFS` or `fuse.sshfs`.
pub(crate) fn network(path: &Path) -> Option<String> {
    match verdict(path) {
        Verdict::Network(name) => Some(name.to_owned()),
        Verdict::Fuse => {
            let device = fs::metadata(path).ok()?.dev();
            let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
            let kind = kind_of(&mounts, &format!("{}:{}", major(device), minor(device)))?;
            REACHES_OUT.contains(&kind).then(|| kind.to_owned())
        }
        Verdict::Memory(_) | Verdict::Fine => None,
    }
}

/// File systems of FUSE that ask another machine, as mountinfo names them.
const REACHES_OUT: [&str; 11] = [
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.mount-s3",
    "fuse.gcsfuse",
    "fuse.goofys",
    "fuse.glusterfs",
    "fuse.ceph-fuse",
    "fuse.davfs",
    "fuse.curlftpfs",
    "fuse.juicefs",
];

/// The type of the file system with this device number (`major:minor`) in the text of proc_pid_mountinfo(5).
fn kind_of<'t>(mounts: &'t str, device: &str) -> Option<&'t str> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    line.split_once(" - ")?.1.split(' ').next()
}

fn of_type(magic: u32) -> Verdict {
    KNOWN.iter().find(|(known, _)| *known == magic).map_or(Verdict::Fine, |(_, verdict)| *verdict)
}

impl Verdict {
    /// Why the file system is refused, if it is, and the remedy.
    pub(super) fn refusal(self) -> Option<(String, &'static str)> {
        let Self::Network(name) = self else { return None };
        let problem = format!(
            "is on a network file system ({name}), where neither a lock nor a write that was reported as done can be relied on: an acknowledged revocation could be lost, and two machines could write at the same time"
        );
        Some((
            problem,
            "set `state_dir` to a local disk, such as /var/lib/ostia; another machine gets a directory of its own",
        ))
    }

    /// A doubt about it that does not prevent a start.
    pub(super) fn doubt(self) -> Option<String> {
        match self {
            Self::Fuse => Some(
                "is on a FUSE file system: whether what was written survives a crash, and whether two machines may have it, depends on the program behind it; a local disk is safer"
                    .into(),
            ),
            Self::Memory(name) => Some(format!(
                "is on {name}, in memory: after a restart of the machine the book is read from the sources again, and what only the book knew is lost; set `state_dir` to a disk"
            )),
            Self::Network(_) | Self::Fine => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_refused_and_those_that_forget_are_doubted() {
        for (magic, refused, doubted) in [
            (0x6969, Some("(NFS)"), None),
            (0xff53_4d42, Some("(CIFS)"), None),
            (0x0102_1997, Some("(9p)"), None),
            (0x00c3_6400, Some("(Ceph)"), None),
            (0x6573_5546, None, Some("FUSE")),
            (0x0102_1994, None, Some("tmpfs")),
            // ext4, XFS, btrfs, ZFS, overlay.
            (0xef53, None, None),
            (0x5846_5342, None, None),
            (0x9123_683e, None, None),
            (0x2fc1_2fc1, None, None),
            (0x794c_7630, None, None),
        ] {
            let verdict = of_type(magic);
            let (refusal, doubt) = (verdict.refusal().map(|(problem, _)| problem), verdict.doubt());
            assert_eq!(refusal.is_some(), refused.is_some(), "{magic:x}");
            assert!(refused.is_none_or(|name| refusal.unwrap().contains(name)), "{magic:x}");
            assert_eq!(doubt.is_some(), doubted.is_some(), "{magic:x}");
            assert!(doubted.is_none_or(|name| doubt.unwrap().contains(name)), "{magic:x}");
        }
        let mut all: Vec<_> = KNOWN.iter().map(|(magic, _)| magic).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), KNOWN.len());
    }

    #[test]
    fn a_mount_is_found_by_its_device() {
        let mounts = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
                      40 22 0:51 /a /mnt/ca\\040s rw,nosuid master:3 shared:7 - fuse.sshfs ca:/pki rw,user_id=0\n\
                      41 22 0:5 / /x rw - fuse.gocryptfs x rw\n";
        for (device, wanted) in
            [("254:1", Some("ext4")), ("0:51", Some("fuse.sshfs")), ("0:5", Some("fuse.gocryptfs")), ("0:510", None)]
        {
            assert_eq!(kind_of(mounts, device), wanted);
        }
        assert_eq!(network(Path::new("/")), None);
    }

    #[test]
    fn the_machine_is_asked_and_memory_is_known() {
        let shared = Path::new("/dev/shm");
        if shared.exists() {
            assert_eq!(verdict(shared), Verdict::Memory("tmpfs"));
        }
        assert_eq!(verdict(Path::new("/nowhere/at/all")), Verdict::Fine);
    }
}
