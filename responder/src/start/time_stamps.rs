//! What all time-stamping authorities share: their clocks, the record of tokens, and the usage. It does not know requests.

use std::{error::Error, path::Path, sync::Arc};

use precompute::{
    journal::{Identity, Journal},
    pki::UnixTime,
    usage::Usage,
};
use tracing::warn;

use crate::{
    config::{Config, TimeStamping},
    tsa::{
        clock::Transition,
        clocks::Clocks,
        record::{self, Audit, Recorder},
    },
};

/// The clocks for tokens, the writer of the record, and what clients have had.
pub(super) struct TimeStamps {
    pub(super) clocks: Arc<Clocks>,
    pub(super) record: Option<Arc<Journal>>,
    /// What clients have had.
    pub(super) usage: Arc<Usage>,
}

impl TimeStamps {
    /// Opens the record, if there is one, with a recorder for each serving thread. No clock is watched yet.
    pub(super) fn open(
        config: &Config,
        path: &Path,
        identity: &Identity,
    ) -> Result<(Self, Vec<Recorder>), Box<dyn Error>> {
        let TimeStamping { clock, lease, record, .. } = &config.time_stamping;
        let record = record.clone().map(|options| record::start(identity, options, config.workers)).transpose();
        let record = record.map_err(|error| format!("{}: time_stamping.record: {error}", path.display()))?;
        let (record, recorders) =
            record.map_or((None, Vec::new()), |(writer, recorders)| (Some(Arc::new(writer)), recorders));
        let audit = record.as_ref().map(|record| Audit::of(record));
        let note = move |transition: &Transition| {
            audit.iter().for_each(|audit| audit.note(transition));
            record::tell(transition);
        };
        let clocks = Arc::new(Clocks::new(*clock, *lease, &config.common.state_dir, Arc::new(note)));
        let usage = Usage::open(&config.common.state_dir, identity.server, UnixTime::now())?;
        Ok((Self { clocks, record, usage }, recorders))
    }

    /// Nothing more is counted.
    pub(super) fn end(&self) {
        if let Err(problem) = self.usage.save(UnixTime::now()) {
            warn!("{problem}");
        }
    }
}
