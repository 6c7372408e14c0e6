//! The console: pages for people, on the admin listener.
//!
//! Purpose: an operator sees how everything fares, looks certificates up, revokes and releases them, and reads the journal, in
//! a browser, also without scripts and on a phone. Invariants: whatever is looked up or done goes through the API as any
//! other client's request does, as the principal who has signed in, so that its roles, its limits and its journal are those
//! of the console; what changes anything is confirmed first, and sent by a page of the console itself. It decides nothing
//! about certificates, keeps nothing on disk, and does not know how anything is counted: programs name what they measure, as
//! they do with metrics.
//!
//! - `session`, `guard`: who is signed in, and what a form has to come with; pure.
//! - `view`: what is shown, as values. `pages`, `page`, `chart`, `format`: how; pure. `assets`: style and script.
//! - `ring`: samples for the charts; pure.

#[allow(dead_code)]
mod assets;
#[allow(dead_code)]
mod chart;
#[allow(dead_code)]
mod format;
#[allow(dead_code)]
mod guard;
#[allow(dead_code)]
mod page;
#[allow(dead_code)]
mod pages;
#[allow(dead_code)]
mod ring;
#[allow(dead_code)]
mod session;
#[allow(dead_code)]
mod view;
