//! Settings of fair share: the queues whose starts are divided among merchants, and the weights of merchants.

use std::collections::BTreeMap;

use jobs::engine::{QueueSpec, Weights};
use store::domain::MerchantId;
use workers::queues::QUEUES;

use super::reader::Reader;

#[derive(Debug, Clone)]
pub(crate) struct FairShare {
    queues: Vec<String>,
    /// The keys are merchants.
    weights: Weights,
}

impl FairShare {
    pub(super) fn read(r: &mut Reader) -> Self {
        let known = QUEUES.map(|(queue, _)| queue);
        let queues = r.each("fair_share", "queues", |text| {
            if known.contains(&text) {
                return Ok(text.to_owned());
            }
            Err(format!("names the queue \"{text}\"; there are {}", known.join(", ")))
        });
        Self { queues, weights: weights(r) }
    }

    /// The weights of a queue that is fair.
    pub(crate) fn weights(&self, queue: &str) -> Option<Weights> {
        self.queues.iter().any(|fair| fair == queue).then(|| self.weights.clone())
    }

    /// The queue to declare; one that is not fair here stays as it was declared before.
    pub(crate) fn spec(&self, queue: &str) -> QueueSpec {
        QueueSpec { fair: self.weights(queue), ..QueueSpec::new(queue) }
    }
}

fn weights(r: &mut Reader) -> Weights {
    let set: BTreeMap<String, u32> = r.value("fair_share", "weights", BTreeMap::new());
    if set.len() > Weights::KEYS_MAX {
        r.fault("fair_share", "weights", &format!("has more than {} merchants", Weights::KEYS_MAX));
    }
    let mut weights = Weights::equal();
    for (merchant, weight) in set {
        if !(1..=Weights::WEIGHT_MAX).contains(&weight) {
            let why = format!("has {weight} for \"{merchant}\": use 1 to {}", Weights::WEIGHT_MAX);
            r.fault("fair_share", "weights", &why);
        }
        match merchant.parse::<MerchantId>() {
            Ok(merchant) => weights = weights.with(merchant.to_string(), weight),
            Err(why) => r.fault("fair_share", "weights", &format!("has \"{merchant}\": {why}")),
        }
    }
    weights
}
