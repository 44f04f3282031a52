//! Faulty connection to the stores.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use store_memory::{Call, Link, Passage};

use crate::{
    chance::{Chance, InjectedFault, pause},
    trace::Trace,
};

/// Longest slow call, shorter than the timeout of a job.
const SLOW_MAX: Duration = Duration::from_secs(20);
/// Longest delay of a late write.
const LATE_MAX: Duration = Duration::from_secs(30);

pub(crate) struct FaultyLink {
    pub(crate) chance: Arc<Chance>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) process: String,
}

impl FaultyLink {
    fn fails(&self, fault: InjectedFault, call: Call) -> bool {
        let happens = self.chance.happens(fault);
        if happens {
            self.trace.note("fault", || format!("{} {fault:?} {}.{}", self.process, call.store, call.name));
        }
        happens
    }
}

#[async_trait]
impl Link for FaultyLink {
    async fn request(&self, call: Call) -> Passage {
        pause(self.chance.travel()).await;
        if self.fails(InjectedFault::StoreSlow, call) {
            pause(self.chance.some_time(SLOW_MAX)).await;
        }
        if self.fails(InjectedFault::StoreRequestLost, call) {
            return Passage::Lost;
        }
        if call.name.ends_with("_by_id") && self.fails(InjectedFault::StoreAstray, call) {
            return Passage::Astray;
        }
        if call.writes && self.fails(InjectedFault::StoreLate, call) {
            return Passage::Late(self.chance.some_time(LATE_MAX));
        }
        Passage::Arrives
    }

    async fn answer(&self, call: Call) -> bool {
        pause(self.chance.travel()).await;
        !self.fails(InjectedFault::StoreAnswerLost, call)
    }
}
