//! Ostia as something that is installed: the Debian package on a bare machine with a real systemd, from its installation to
//! its purge.
//!
//! `machine` is the machine. `contents` looks into the package. In `install` a stranger follows the documents; in `running` things go wrong under systemd; in
//! `replaced` the package is upgraded, removed and purged; in `image` the programs are in a
//! container, in `disk` on a machine of qemu; `compose` looks at what no engine runs here. It takes root.

mod compose;
mod contents;
mod disk;
mod image;
mod install;
mod machine;
mod replaced;
mod running;
mod site;
