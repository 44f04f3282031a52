//! An engine of one's own, in memory, and the conformance suite that holds it to the contract:
//! `cargo run -p orderworks-jobs --features conformance --example custom_engine`, and `cargo test` with the same words.
//!
//! What Celery calls a transport (kombu) or Sidekiq leaves to Redis. `engine` has the contracts, `rows` is what a
//! server would keep. The jobs are gone when the process ends; everything else is as the contract asks.
#![expect(clippy::print_stdout, reason = "an example prints what happens")]

mod engine;
mod rows;

use std::{error::Error, sync::Arc};

use orderworks_jobs::{
    Ambient, CancellationToken, Engine, Job, JobContext, JobError, Producer, Registry, Workers,
    engine::QueueSpec,
};

use self::engine::VecEngine;

#[derive(serde::Serialize, serde::Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    type Env = CancellationToken;
    const KIND: &'static str = "greet";

    async fn run(&self, ctx: &JobContext<CancellationToken>) -> Result<(), JobError> {
        println!("hello {}", self.name);
        ctx.env.cancel();
        Ok(())
    }
}

/// Producer, registry and workers do not see which engine they have.
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (ambient, stop) = (Ambient::system(), CancellationToken::new());
    let engine: Arc<dyn Engine> = Arc::new(VecEngine::new(ambient.clone()));
    engine.declare(&[QueueSpec::new("default")]).await?;
    Producer::new(engine.clone(), ambient.clone()).enqueue(&Greet { name: "Ada".into() }).await?;
    let registry = Arc::new(Registry::new().register::<Greet>()?);
    Workers::new(engine, registry, stop.clone(), ambient).queue("default", 4).run(stop).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use orderworks_jobs::{Envelope, Publish, async_trait, conformance::Harness, envelope::EnqueueOptions};

    use super::*;

    struct VecHarness {
        ambient: Ambient,
        engine: VecEngine,
    }

    #[async_trait]
    impl Harness for VecHarness {
        async fn start() -> Self {
            let ambient = Ambient::system();
            Self { engine: VecEngine::new(ambient.clone()), ambient }
        }

        fn ambient(&self) -> &Ambient {
            &self.ambient
        }

        fn engine(&self) -> Arc<dyn Engine> {
            Arc::new(self.engine.clone())
        }

        /// For a server: a second connection.
        async fn second(&self) -> Arc<dyn Engine> {
            self.engine()
        }

        async fn break_storage(&self) {
            self.engine.break_storage();
        }

        async fn inject_undecodable(&self, queue: &str, body: &str) {
            let payload = serde_json::value::to_raw_value(body).expect("a string");
            let message = Greet { name: String::new() };
            let message =
                Envelope::new(&message, EnqueueOptions::default(), &self.ambient).expect("an envelope");
            let message = Envelope { kind: String::new(), queue: queue.to_owned(), payload, ..message };
            self.engine.publish(vec![message]).await.expect("publishes");
        }
    }

    orderworks_jobs::conformance_tests!(VecHarness);
}
