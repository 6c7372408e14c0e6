//! A whole installation under load while one process after the other is killed, hangs, or is replaced.
//!
//! Two writers, three replicas behind HAProxy, Redis with two followers and three Sentinels, all by the shipped
//! configurations. `load` asks at a given rate, `pushes` revokes certificates at either writer, `stamps` has digests
//! stamped, `watch` asks whether what was acknowledged shows and stays, `resources` looks at memory and descriptors.
//! Meanwhile `faults` kills and freezes, and `upgrade` restarts everything in order. `handover` measures for how long no push is
//! taken. `figures` says what came of it, as a table. Invariant: whoever asks is a client of the balancer or of an
//! API and knows nothing of what happens behind it.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `OSTIA_ENDURANCE` | for how many seconds faults go on, at least one of each kind | one of each kind |
//! | `OSTIA_RATE` | OCSP requests a second | 300 |
//! | `OSTIA_SEED` | of the order of faults after the first ones | 1 |
//! | `OSTIA_WHO` | to whom those happen: `replica`, `leader`, `standby`, `master`, `follower` or `sentinel` | everybody |
//!
//! By hand: `OSTIA_ENDURANCE=3600 OSTIA_RATE=10000 cargo test --release -p ostia-tests --test endurance faults -- --nocapture`.

mod faults;
mod figures;
mod handover;
mod installation;
mod load;
mod pushes;
mod resources;
mod stamps;
mod twice;
mod upgrade;
mod watch;

use std::time::Duration;

/// For whatever has to happen at once, on a machine that may be busy.
const SOON: Duration = Duration::from_secs(60);
