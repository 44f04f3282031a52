//! The container stacks of `compose/`, started: each Orderworks service is a process with its command and settings, on
//! the servers of `ops/services` instead of containers, behind the real haproxy.
//!
//! Addresses of servers, with their logins and databases, are those of this test; scheme, parameters and every other
//! setting are the stack's.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base::{
    Ambient,
    testing::{
        scratch::{self, Scratch},
        skip,
    },
};
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::Value;
use store_cassandra::testing::Keyspace;
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};
use url::Url;

use crate::util::{
    Client, Haproxy, PATIENCE, Role, Vhost, alone,
    containers::{PASSWORD, Service, services},
    free_port, haproxy, http, mails_to, missing_broker, order, orderworks, ready,
};

/// Processes of one service at most.
const REPLICAS_MAX: usize = 2;
/// Every address of its container, before a port.
const ANY: &str = "0.0.0.0:";
/// Port of the console's pages in its container; its health is told at another one.
const CONSOLE_PORT: &str = "8081";

/// A stack whose servers are there and whose processes have not been started.
struct Stack {
    folder: TempDir,
    services: BTreeMap<String, Service>,
    /// Addresses by service, number of the process, and port in its container.
    listeners: BTreeMap<(String, usize, String), String>,
    proxy: Haproxy,
    /// Address of each server, by the setting that names it.
    servers: BTreeMap<&'static str, String>,
    /// Settings by which runs of this test do not meet.
    own: [(&'static str, String); 2],
    vhost: Vhost,
    _keyspace: Keyspace,
    _database: Scratch,
}

/// Address of a test server; `None`, with the reason printed, if it is not set.
fn server(name: &str) -> Option<String> {
    let variable = format!("ORDERWORKS_TEST_{name}");
    let url = env::var(&variable).ok();
    if url.is_none() {
        skip(&format!("{variable} is not set; see `ops/services up`"));
    }
    url
}

fn parsed(url: &str) -> Url {
    url.parse().expect("a URL")
}

/// The URL at the host and port of another one.
fn at_host_of(url: &str, other: &str) -> String {
    let (mut url, other) = (parsed(url), parsed(other));
    url.set_host(other.host_str()).expect("takes a host");
    url.set_port(other.port()).expect("takes a port");
    url.into()
}

/// `host:port` of a URL.
fn authority(url: &str) -> String {
    let url = parsed(url);
    format!("{}:{}", url.host_str().expect("a host"), url.port_or_known_default().expect("a port"))
}

/// The shipped settings of haproxy with addresses in place of names that a resolver would look up.
fn with_addresses(apis: &[&str], broker: &str) -> String {
    let shipped = fs::read_to_string(haproxy::SETTINGS).expect("the settings");
    let (mut lines, mut is_resolver) = (Vec::new(), false);
    for line in shipped.lines() {
        if !line.starts_with(char::is_whitespace) {
            is_resolver = line.starts_with("resolvers ");
        }
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            _ if is_resolver => {}
            ["server-template", "api", ..] => {
                lines.extend(apis.iter().enumerate().map(|(n, api)| format!("    server api{n} {api}")));
            }
            ["server-template", "node", ..] => lines.push(format!("    server node {broker}")),
            _ => lines.push(line.replace(" resolvers network init-addr none", "")),
        }
    }
    let settings = lines.join("\n") + "\n";
    assert!(!settings.contains("resolvers network") && settings.contains("server api0"), "{settings}");
    settings
}

impl Stack {
    /// `None`, with the reason printed, if a server is missing.
    async fn open(files: &[&str]) -> Option<Self> {
        if let Some(why) = missing_broker().map(str::to_owned).or_else(scratch::skipped) {
            skip(&why);
            return None;
        }
        let (program, redis, smtp) = (Haproxy::program()?, server("REDIS_URL")?, server("SMTP_URL")?);
        let replica = if files.len() > 1 { server("POSTGRES_REPLICA_URL")? } else { String::new() };
        let (keyspace, database, vhost) =
            (Keyspace::create().await?, Scratch::create().await, Vhost::create().await);
        let folder = tempfile::tempdir().expect("a folder");
        let services = services(files);
        let listeners = listeners(&services);
        let apis = listeners.iter().filter(|((name, _, port), _)| name == "api" && port == "8080");
        let apis: Vec<_> = apis.map(|(_, address)| address.as_str()).collect();
        let settings = folder.path().join("haproxy.cfg");
        fs::write(&settings, with_addresses(&apis, &authority(vhost.url()))).expect("writes");
        let proxy = Haproxy::spawn(&program, &settings, &[]);
        let owner = database.url_of_owner().await.expose_secret().to_owned();
        let mut servers = BTreeMap::from([
            ("RABBITMQ_URL", at_host_of(vhost.url(), &format!("amqp://{}", proxy.amqp))),
            ("PAYMENTS_PROVIDER_URL", format!("http://{}/", listeners[&listener("sandbox", 0, "8092")])),
            ("REDIS_URL", redis),
            ("MAIL_SMTP_URL", smtp),
        ]);
        if !replica.is_empty() {
            servers.insert("POSTGRES_REPLICA_URLS", at_host_of(&owner, &replica));
        }
        servers.insert("POSTGRES_URL", owner);
        servers.insert("CASSANDRA_NODES", format!("{:?}", keyspace.config.nodes));
        let prefix = format!("ow-test-{}", Ambient::system().uuid().simple());
        let own = [
            ("ORDERWORKS_CASSANDRA_KEYSPACE", keyspace.config.keyspace.clone()),
            ("ORDERWORKS_REDIS_PREFIX", prefix),
        ];
        Some(Self {
            folder,
            services,
            listeners,
            proxy,
            servers,
            own,
            vhost,
            _keyspace: keyspace,
            _database: database,
        })
    }

    /// The value of a setting, with the address of a server of this test.
    fn mapped(&self, name: &str, value: &str, folder: &Path) -> String {
        let setting = name.strip_prefix("ORDERWORKS_").expect("a setting");
        match (setting, self.servers.get(setting)) {
            // Where it stands in a container.
            ("DATA_FOLDER", _) => value.replacen("/data", folder.to_str().expect("UTF-8"), 1),
            ("CASSANDRA_NODES", Some(nodes)) => nodes.clone(),
            // There is one node.
            ("CASSANDRA_REPLICATION", _) => value.replace("= 3", "= 1"),
            ("POSTGRES_REPLICA_URLS", Some(url)) => format!("{:?}", [url]),
            (_, Some(server)) => {
                let (shipped, mut server) = (parsed(value), parsed(server));
                assert_eq!(server.scheme(), shipped.scheme(), "{name}");
                server.set_query(shipped.query());
                server.into()
            }
            (_, None) => {
                assert!(!value.contains("://"), "{name} names a server that is not known here");
                value.to_owned()
            }
        }
    }

    /// The process of a service with this number, and its folder.
    fn command(&self, name: &str, number: usize) -> (Command, PathBuf) {
        let (service, folder) = (&self.services[name], self.folder.path().join(format!("{name}-{number}")));
        fs::create_dir_all(&folder).expect("creates");
        let words = service.command.iter().map(|word| match word.strip_prefix(ANY) {
            Some(port) => self.listeners[&listener(name, number, port)].clone(),
            None => word.clone(),
        });
        let settings =
            service.environment.iter().map(|(name, value)| (name, self.mapped(name, value, &folder)));
        let mut command = Command::new(orderworks(&folder).as_std().get_program());
        command.args(words).envs(settings).envs(self.own.clone());
        command.current_dir(&folder).env_remove("ORDERWORKS_CONFIG");
        (command, folder)
    }

    /// Starts all processes of a service.
    fn start(&self, name: &str) -> Vec<Role> {
        let processes = 0..self.services[name].replicas.min(REPLICAS_MAX);
        processes
            .map(|number| self.command(name, number))
            .map(|(command, at)| Role::spawn(command, &at))
            .collect()
    }

    /// Runs the migration to its end; returns the keys that it wrote where the head of `full.yml` says.
    async fn migrate(&self) -> Value {
        let (mut command, folder) = self.command("migrate", 0);
        let done = timeout(PATIENCE, command.output()).await.expect("ends in time").expect("runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let keys = fs::read(folder.join("demo-keys.json")).expect("the demo shop's keys");
        serde_json::from_slice(&keys).expect("JSON")
    }

    /// Waits until every listener of a service is ready and its container would be healthy.
    async fn until_ready(&self, name: &str) {
        let of_service = self.listeners.iter().filter(|((of, ..), _)| of == name);
        for ((_, _, port), address) in of_service.filter(|((.., port), _)| port != CONSOLE_PORT) {
            ready(address, |report| report["status"] == "ok").await;
            let (shown, real) = (format!("127.0.0.1/{port} "), format!("{} ", address.replace(':', "/")));
            let [_, program, arguments @ ..] = self.services[name].healthcheck.as_slice() else {
                panic!("{name} has no health check")
            };
            let arguments: Vec<_> = arguments.iter().map(|word| word.replace(&shown, &real)).collect();
            if arguments.iter().any(|word| word.contains(&real)) {
                let healthy = Command::new(program).args(&arguments).stdout(Stdio::null()).status();
                assert!(healthy.await.expect("runs").success(), "{arguments:?}");
            } else {
                assert_eq!((name, port.as_str()), ("api", "9000"), "the health check asks another port");
            }
        }
    }

    /// Waits until the console shows a worker process to the bearer of the token in the environment file: a process
    /// notes itself every few seconds only, and the console looks once in two.
    async fn until_it_shows_workers(&self) {
        let address = &self.listeners[&listener("console", 0, CONSOLE_PORT)];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = http().get(format!("http://{address}/api/v1/workers")).bearer_auth(PASSWORD);
            let answer = request.send().await.expect("answers");
            assert_eq!(answer.status(), StatusCode::OK);
            let shown: Value = answer.json().await.expect("JSON");
            if shown["data"].as_array().is_some_and(|workers| !workers.is_empty()) {
                return;
            }
            assert!(Instant::now() < deadline, "no worker: {shown}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn listener(name: &str, number: usize, port: &str) -> (String, usize, String) {
    (name.to_owned(), number, port.to_owned())
}

/// A free address for each port that a process listens on in its container.
fn listeners(services: &BTreeMap<String, Service>) -> BTreeMap<(String, usize, String), String> {
    let mut listeners = BTreeMap::new();
    for (name, service) in services {
        for port in service.command.iter().filter_map(|word| word.strip_prefix(ANY)) {
            for number in 0..service.replicas.min(REPLICAS_MAX) {
                listeners.insert(listener(name, number, port), format!("127.0.0.1:{}", free_port()));
            }
        }
    }
    listeners
}

/// Starts a stack as its dependencies say, places an order by the proxy, and waits for its mail.
async fn sells(files: &[&str]) {
    let _alone = alone().await;
    let Some(mut stack) = Stack::open(files).await else { return };
    let mut roles = stack.start("sandbox");
    let keys = stack.migrate().await;
    let started = ["api", "relay", "worker", "scheduler", "console"];
    assert_eq!(stack.services.len(), started.len() + 2, "a service that is not started here");
    for name in started {
        roles.extend(stack.start(name));
    }
    for name in started {
        stack.until_ready(name).await;
    }
    stack.proxy.until_ready().await;

    let base = format!("http://{}", stack.proxy.address);
    let client = |key: &str| Client::new(&base, keys[key].as_str().expect("a key"));
    let domain = format!("{}.example.com", Ambient::system().uuid());
    let mut wanted = order("CUP-ENAMEL", 1, "pm_card_visa");
    wanted["customer"]["email"] = format!("ada@{domain}").into();
    let (status, placed) = client("publishable").place("first", &wanted).await.expect("answers");
    assert_eq!(status, StatusCode::ACCEPTED, "{placed}");
    let ended = client("secret").ended(placed["id"].as_str().expect("an id")).await;
    assert_eq!(ended["status"], "fulfilled", "{ended}");
    // The sink is a folder, so this polls.
    let deadline = Instant::now() + PATIENCE;
    while mails_to(&domain).is_empty() {
        assert!(Instant::now() < deadline, "no mail");
        sleep(Duration::from_millis(100)).await;
    }
    stack.until_it_shows_workers().await;
    for role in roles {
        role.stop().await;
    }
    stack.vhost.delete().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_full_stack_starts_and_sells() {
    sells(&["full.yml"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replicated_stack_starts_and_sells() {
    sells(&["full.yml", "replicated.yml"]).await;
}

#[test]
fn services_of_the_stack_are_asked_where_they_listen() {
    let services = services(&["full.yml"]);
    let listens = |address: &str| {
        let (name, port) = address.rsplit_once(':').expect("a port");
        services[name].command.iter().any(|word| word.strip_prefix(ANY) == Some(port))
    };
    let of_worker = |setting: &str| authority(&services["worker"].environment[setting]);
    assert!(listens(&of_worker("ORDERWORKS_PAYMENTS_PROVIDER_URL")));
    let shipped = fs::read_to_string(haproxy::SETTINGS).expect("the settings");
    let preset = |name: &str| {
        let set = format!("presetenv {name} ");
        shipped.lines().find_map(|line| line.trim().strip_prefix(set.as_str())).expect("a default").to_owned()
    };
    assert!(listens(&preset("API")));
    assert_eq!(of_worker("ORDERWORKS_RABBITMQ_URL"), format!("proxy{}", preset("BIND_AMQP")));

    let scraped = concat!(env!("CARGO_MANIFEST_DIR"), "/compose/prometheus.yml");
    let scraped = fs::read_to_string(scraped).expect("the settings");
    let scraped: serde_yaml_ng::Value = serde_yaml_ng::from_str(&scraped).expect("YAML");
    let processes = &scraped["scrape_configs"][0]["dns_sd_configs"][0];
    let port = processes["port"].as_u64().expect("a port");
    let names = processes["names"].as_sequence().expect("names").iter();
    let scraped: BTreeSet<_> = names.map(|name| name.as_str().expect("a name")).collect();
    let tell_health = services.keys().map(String::as_str).filter(|name| listens(&format!("{name}:{port}")));
    assert_eq!(scraped, tell_health.collect(), "each process that tells its figures is scraped");
}
