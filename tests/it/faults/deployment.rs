//! Deployment of a fault run: processes of each role, their connections to the servers, the provider.

use std::{collections::BTreeMap, time::Duration};

use base::{Ambient, testing::Proxy};
use tokio::{sync::Mutex, time::sleep};

use super::{
    clock::{self, SteppedClock},
    front::Front,
    objects,
    plan::{InjectedFault, Link, Mood, Planned, Role},
    servers::Servers,
};
use crate::util::{self, Client, StripeServer, TestMerchant, TestServers, free_port};

const APIS: usize = 2;
const RELAYS: usize = 2;
const WORKERS: usize = 3;
const SHOPS: usize = 3;
/// Stock that cannot be sold out.
pub(super) const PLENTY: i64 = 10_000_000;
pub(super) const SKUS: [&str; 3] = ["CUP", "PEN", "TEE"];
/// The product that sells out.
pub(super) const RARE: &str = "RARE";
pub(super) const RARE_STOCK: i64 = 150;
/// Secret that signs the provider's webhooks.
pub(super) const REPORT_SECRET: &str = "whsec_ofTheFaultRun";
const STRIPE_KEY: &str = "rk_test_ofTheFaultRun";
/// Index of the worker whose clock can be stepped.
const STEPPED: usize = 0;
/// How long it runs with the stepped clock.
const STEPPED_FOR: Duration = Duration::from_secs(10);

/// The whole deployment.
pub(super) struct Deployment {
    pub(super) stage: TestServers,
    pub(super) shops: Vec<TestMerchant>,
    /// Base URL of each API process, such as `http://127.0.0.1:8080`.
    pub(super) bases: Vec<String>,
    /// Ledger of the provider itself, without a proxy.
    pub(super) ledger: String,
    /// The stand-in for Stripe, where the run has one in place of the sandbox.
    pub(super) stripe: Option<StripeServer>,
    processes: BTreeMap<Role, Vec<Mutex<Process>>>,
    clock: SteppedClock,
    lines: BTreeMap<Link, Proxy>,
    front: Front,
    pub(super) servers: Servers,
}

/// A process that is restarted when it dies, as by a service manager.
struct Process {
    args: Vec<String>,
    /// Besides those of the deployment.
    settings: Vec<(String, String)>,
    running: Option<util::Role>,
}

impl Deployment {
    /// Starts all processes and opens the shops; `None` without servers for a fault run. With `stripe_skew` the
    /// provider is a stand-in for Stripe whose clock is so many seconds ahead.
    pub(super) async fn open(stripe_skew: Option<i64>) -> Option<Self> {
        let servers = Servers::found()?;
        let mut stage =
            TestServers::open_with("{ datacenter1 = 3 }").await.expect("ops/faults names all servers");
        let lines = lay_lines(&mut stage).await;
        let stripe = match stripe_skew {
            Some(seconds) => Some(StripeServer::start(Ambient::system(), seconds).await),
            None => None,
        };
        let (front, ledger) = put_provider(&mut stage, stripe.as_ref()).await;
        // A process whose clock is ahead would take orders for old ones, and refuse new ones.
        stage.set("ADMISSION_ORDER_AGE_SECONDS", "0");
        stage.set("PAYMENTS_STRIPE_WEBHOOK_SECRETS", &format!("[\"{REPORT_SECRET}\"]"));
        let sandbox = stage.sandbox.take().expect("runs since the stage was opened");
        let sandbox =
            Process { args: stage.sandbox_arguments(), settings: Vec::new(), running: Some(sandbox) };
        let mut processes = BTreeMap::from([(Role::Provider, vec![Mutex::new(sandbox)])]);
        let clock = SteppedClock::new(stage.data.path());
        let addresses: Vec<_> = (0..APIS).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        for (role, commands) in commands(&addresses) {
            let started = commands.iter().enumerate().map(|(index, args)| {
                let steps = role == Role::Worker && index == STEPPED;
                let settings = if steps { clock.settings() } else { Vec::new() };
                Mutex::new(Process::start(&stage, args, settings))
            });
            processes.insert(role, started.collect());
        }
        for address in &addresses {
            util::ready(address, |report| report["status"] == "ok").await;
        }
        let bases: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
        let mut shops = Vec::new();
        for _ in 0..SHOPS {
            shops.push(TestMerchant::open_with(&stage, &bases[0], &stocked()).await);
        }
        Some(Self { stage, shops, bases, ledger, stripe, processes, clock, lines, front, servers })
    }

    /// Executes a fault and undoes it. Returns when the broken part is whole again, before the system has recovered.
    pub(super) async fn suffer(&self, planned: &Planned) {
        let Planned { fault, which, span, clock_off_seconds, .. } = *planned;
        match fault {
            InjectedFault::Kill(role) => {
                self.process(role, which).lock().await.replace(&self.stage, &[]).await;
            }
            InjectedFault::Pause(role) => {
                let process = self.process(role, which).lock().await;
                process.running().pause().await;
                sleep(span).await;
                process.running().wake().await;
            }
            InjectedFault::WrongClock => {
                let mut process = self.process(Role::Worker, which).lock().await;
                process.replace(&self.stage, &clock::ahead(clock_off_seconds)).await;
                sleep(span).await;
                process.replace(&self.stage, &[]).await;
            }
            InjectedFault::StepClock => self.step_clock(span, clock_off_seconds).await,
            InjectedFault::Cut(line) => self.lines[&line].cut(),
            InjectedFault::Sever(line) => {
                self.lines[&line].sever();
                sleep(span).await;
                self.lines[&line].restore();
            }
            InjectedFault::Provider(mood) => {
                self.front.set(mood);
                sleep(span).await;
                self.front.set(Mood::Fine);
            }
            InjectedFault::DeadReceivers => {
                self.shops.iter().for_each(|shop| shop.receiver.set_dead(true));
                sleep(span).await;
                self.shops.iter().for_each(|shop| shop.receiver.set_dead(false));
            }
            InjectedFault::Restart(server) => self.servers.restart(server, which, span).await,
            InjectedFault::Delete(object) => objects::delete(&self.stage.vhost, object, which).await,
        }
    }

    /// Suspends a worker, steps its clock meanwhile, and puts the clock right while the worker runs.
    async fn step_clock(&self, suspended: Duration, seconds: i64) {
        {
            let process = self.process(Role::Worker, STEPPED).lock().await;
            process.running().pause().await;
            self.clock.set(seconds);
            sleep(suspended).await;
            process.running().wake().await;
        }
        sleep(STEPPED_FOR).await;
        self.clock.set(0);
    }

    /// A shop's client at one of the API processes.
    pub(super) fn client(&self, shop: usize, turn: usize) -> Client {
        self.shops[shop].client.at(&self.bases[turn % self.bases.len()])
    }

    /// Stops all processes.
    pub(super) async fn close(self) {
        for process in self.processes.into_values().flatten() {
            if let Some(running) = process.into_inner().running {
                running.stop().await;
            }
        }
        self.stage.close().await;
    }

    fn process(&self, role: Role, which: usize) -> &Mutex<Process> {
        let alike = &self.processes[&role];
        &alike[which % alike.len()]
    }
}

impl Process {
    fn start(stage: &TestServers, args: &[&str], settings: Vec<(String, String)>) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut process = Self { args, settings, running: None };
        process.run(stage, &[]);
        process
    }

    fn running(&self) -> &util::Role {
        self.running.as_ref().expect("always one")
    }

    /// Kills it and starts it again with further settings, which take precedence.
    async fn replace(&mut self, stage: &TestServers, more: &[(String, String)]) {
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
        self.run(stage, more);
    }

    fn run(&mut self, stage: &TestServers, more: &[(String, String)]) {
        let settings = self.settings.iter().chain(more).map(|(key, value)| (key.as_str(), value.as_str()));
        self.running = Some(stage.role_with(&settings.collect::<Vec<_>>(), &self.args));
    }
}

/// The command of each process.
fn commands(addresses: &[String]) -> [(Role, Vec<Vec<&str>>); 4] {
    let apis = addresses.iter().map(|address| vec!["api", "--listen", address]);
    [
        (Role::Api, apis.collect()),
        (Role::Relay, vec![vec!["relay"]; RELAYS]),
        (Role::Scheduler, vec![vec!["scheduler"]]),
        (Role::Worker, vec![vec!["worker"]; WORKERS]),
    ]
}

fn stocked() -> Vec<(&'static str, i64)> {
    SKUS.map(|sku| (sku, PLENTY)).into_iter().chain([(RARE, RARE_STOCK)]).collect()
}

/// The provider of the run behind a faulty proxy, and its ledger without one.
async fn put_provider(stage: &mut TestServers, stripe: Option<&StripeServer>) -> (Front, String) {
    let Some(stripe) = stripe else {
        let front = Front::of(stage.setting("PAYMENTS_PROVIDER_URL")).await;
        stage.set("PAYMENTS_PROVIDER_URL", &front.url);
        return (front, stage.ledger_url());
    };
    let front = Front::of(&stripe.url).await;
    stage.set("PAYMENTS_PROVIDER", "stripe");
    // All customers order from one address, and the provider declines many.
    for bound in [
        "UNPAID_PER_GUEST",
        "UNPAID_PER_CUSTOMER",
        "UNPAID_WITH_PROOF",
        "DECLINES_PER_PAYMENT_METHOD",
        "DECLINES_PER_CUSTOMER",
        "ALARM_PAYMENTS",
    ] {
        stage.set(&format!("CARD_TESTING_{bound}"), "1000000");
    }
    stage.set("PAYMENTS_STRIPE_KEY", STRIPE_KEY);
    stage.set("PAYMENTS_STRIPE_URL", &front.url);
    (front, format!("{}/v1/ledger", stripe.url))
}

/// Proxies to all servers but Cassandra, whose nodes announce their own addresses.
async fn lay_lines(stage: &mut TestServers) -> BTreeMap<Link, Proxy> {
    let redis = std::env::var("ORDERWORKS_TEST_REDIS_URL").expect("ops/faults names all servers");
    let prefix = format!("ow-faults-{}", Ambient::system().uuid().simple());
    for (key, value) in [("ENGINES_CACHE", "redis"), ("REDIS_URL", &redis), ("REDIS_PREFIX", &prefix)] {
        stage.set(key, value);
    }
    let mut lines = BTreeMap::new();
    for (line, key) in
        [(Link::Postgres, "POSTGRES_URL"), (Link::Broker, "RABBITMQ_URL"), (Link::Redis, "REDIS_URL")]
    {
        let url = stage.setting(key).to_owned();
        let proxy = Proxy::to(&url).await;
        stage.set(key, &proxy.address(&url));
        lines.insert(line, proxy);
    }
    let smtp = stage.setting("MAIL_SMTP_URL").trim_start_matches("smtp://").trim_end_matches('/').to_owned();
    let proxy = Proxy::start(smtp.parse().expect("an address without a login")).await;
    stage.set("MAIL_SMTP_URL", &format!("smtp://127.0.0.1:{}", proxy.port));
    lines.insert(Link::Mail, proxy);
    lines
}
