//! What all time-stamping authorities share: their clocks, and the record of tokens. It does not know requests.

use std::{error::Error, path::Path, sync::Arc};

use precompute::journal::{Identity, Journal};

use crate::{
    config::{Config, TimeStamping},
    tsa::{
        clock::Transition,
        clocks::Clocks,
        record::{self, Audit, Recorder},
    },
};

/// The clocks for tokens, and the writer of the record.
pub(super) struct TimeStamps {
    pub(super) clocks: Arc<Clocks>,
    pub(super) record: Option<Arc<Journal>>,
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
        Ok((Self { clocks, record }, recorders))
    }
}
