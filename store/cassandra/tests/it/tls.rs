//! TLS to a node: a proxy in front of the real node terminates it.

use std::{path::PathBuf, sync::Arc};

use base::Ambient;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::ring::default_provider, pki_types::PrivateKeyDer};
use store::{PaymentStore, domain::MerchantId};
use store_cassandra::{CassandraConfig, CassandraConnectError, CassandraPayments, CassandraTls};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::new_payment;
use crate::util::cassandra::shared;

/// Terminates TLS for a node with a self-signed certificate, which is written into `folder`.
async fn front(node: String, folder: &TempDir) -> (String, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, cert.pem()).expect("writes");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, node) = (acceptor.clone(), node.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate disconnects, which the test expects of it.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(node).await.expect("the node listens");
                drop(copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    (address, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_spoken_to_over_tls_and_only_if_their_certificate_is_trusted() {
    let Some(keyspace) = shared().await else { return };
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (address, ca_file) = front(keyspace.config.nodes[0].clone(), &folder).await;
    let config = |ca_file: PathBuf| CassandraConfig {
        nodes: vec![address.clone()],
        tls: Some(CassandraTls { ca_file }),
        ..keyspace.config.clone()
    };
    let ambient = Ambient::system();
    let store = CassandraPayments::connect(&config(ca_file), ambient.clone()).await.expect("connects");
    let payment =
        store.open_payment(new_payment(&ambient, MerchantId::fresh(&ambient))).await.expect("opens");
    assert_eq!(store.payment(payment.id).await.expect("reads"), Some(payment));

    let (_, foreign) = front(keyspace.config.nodes[0].clone(), &other).await;
    let error = CassandraPayments::connect(&config(foreign), ambient.clone()).await.err().expect("fails");
    let CassandraConnectError::Unreachable { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("certificate"), "{source}");

    let missing = config(folder.path().join("nowhere.pem"));
    let error = CassandraPayments::connect(&missing, ambient).await.err().expect("fails");
    assert!(!error.is_retryable() && error.to_string().contains("nowhere.pem"), "{error}");
}
