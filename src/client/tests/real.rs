//! On sockets of the system's, and with TLS.

use super::super::connect::System;
use super::super::item::{Item, Trouble, TroubleKind};
use super::{Options, REAL_PATIENCE, Reader, STREAM, options};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

fn open(options: Options) -> Reader {
    Reader::open_by(options, Arc::new(System), REAL_PATIENCE)
}

async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Answers one request with a stream of one event.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let head = head_of(&mut stream).await;
    stream.write_all(STREAM.as_bytes()).await.unwrap();
    stream.write_all(b"data: a\n\n").await.unwrap();
    stream.shutdown().await.unwrap();
    head
}

async fn trouble(reader: &Reader) -> Trouble {
    match reader.next().await {
        Item::Error(trouble) => trouble,
        other => panic!("{}", super::short(&other)),
    }
}

async fn reads_a_stream(reader: &Reader, url: &str) {
    assert_eq!(reader.told().await, format!("OPEN 200 {url}"));
    assert_eq!(reader.told().await, "message|a|");
    assert_eq!(trouble(reader).await.kind, TroubleKind::Ended);
}

#[tokio::test]
async fn a_unix_socket_is_read() {
    let path = std::env::temp_dir().join(format!("pagi-sse-client-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let url = format!("http+unix:{}:/events?x=1", path.display());
    let reader = open(options(&url));
    let (stream, _) = listener.accept().await.unwrap();
    let head = serve(stream).await;
    assert!(head.starts_with("GET /events?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: localhost\r\n"), "{head}");
    reads_a_stream(&reader, &url).await;
    reader.client.close();
    drop(listener);
    let reader = open(options(&url));
    let text = trouble(&reader).await.text;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        text,
        format!("{}: Connection refused ({url})", path.display())
    );
    let reader = open(options(&url));
    let text = trouble(&reader).await.text;
    let why = "No such file or directory";
    assert_eq!(text, format!("{}: {why} ({url})", path.display()));
}

#[tokio::test]
async fn a_name_is_resolved_and_a_port_that_nobody_listens_at_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("http://localhost:{port}/");
    let reader = open(options(&url));
    let (stream, _) = listener.accept().await.unwrap();
    serve(stream).await;
    reads_a_stream(&reader, &url).await;
    drop((reader, listener));
    let url = format!("http://127.0.0.1:{port}/");
    let reader = open(options(&url));
    let trouble = trouble(&reader).await;
    assert_eq!(trouble.kind, TroubleKind::Connect);
    let text = format!("127.0.0.1:{port}: Connection refused ({url})");
    assert_eq!(trouble.text, text);
}

#[tokio::test]
async fn a_name_without_an_address_is_told() {
    // No name server has to be asked: a label may have 63 characters.
    let name = "x".repeat(64);
    let reader = open(options(&format!("http://{name}/")));
    let trouble = trouble(&reader).await;
    assert_eq!(trouble.kind, TroubleKind::Resolve);
    let text = &trouble.text;
    assert!(
        text.starts_with(&format!("the name {name} has no address: ")),
        "{text}"
    );
}

#[cfg(feature = "tls")]
mod tls {
    use super::super::super::connect::Dial;
    use super::super::super::options::Proxy;
    use super::super::{Server, field};
    use super::*;
    use std::path::PathBuf;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    fn pem(name: &str) -> PathBuf {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/tests/pem");
        PathBuf::from(folder).join(name)
    }

    fn acceptor() -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_file(pem("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(pem("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn trusting(url: &str) -> Options {
        Options {
            ca_file: Some(pem("ca.pem")),
            ..options(url)
        }
    }

    /// A client of a server with our certificate, by the wire of a test.
    async fn with_server(options: Options, is_accepted: bool) -> Reader {
        let mut server = Server::new();
        let dial: Arc<dyn Dial> = server.wire.clone();
        let reader = Reader::open_by(options, dial, REAL_PATIENCE);
        let conn = server.accept().await;
        match acceptor().accept(conn.stream).await {
            Ok(stream) => drop(serve(stream).await),
            Err(e) => assert!(!is_accepted, "{e}"),
        }
        reader
    }

    #[tokio::test]
    async fn a_server_that_our_own_authority_knows_is_read() {
        let url = "https://good.test/s";
        let reader = with_server(trusting(url), true).await;
        reads_a_stream(&reader, url).await;
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_refused_for_good() {
        let reader = with_server(trusting("https://bad.test/"), false).await;
        let trouble = trouble(&reader).await;
        assert_eq!(
            (trouble.kind, trouble.retry_in),
            (TroubleKind::Certificate, None)
        );
        let text = trouble.text;
        assert!(
            text.starts_with("the server's certificate does not do: "),
            "{text}"
        );
        assert!(
            text.contains("bad.test") && text.contains("good.test"),
            "{text}"
        );
        assert_eq!(reader.told().await, "END Failed");
    }

    #[tokio::test]
    async fn an_unknown_authority_is_refused_unless_anybody_will_do() {
        let url = "https://good.test/";
        let reader = with_server(options(url), false).await;
        assert_eq!(trouble(&reader).await.kind, TroubleKind::Certificate);
        let anybody = Options {
            insecure: true,
            ..options(url)
        };
        let reader = with_server(anybody, true).await;
        reads_a_stream(&reader, url).await;
    }

    #[tokio::test]
    async fn what_is_no_tls_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let reader = open(options(&url));
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 No\r\n\r\n").await.unwrap();
        let trouble = trouble(&reader).await;
        assert_eq!(trouble.kind, TroubleKind::Tls);
        assert!(trouble.text.starts_with("TLS failed: "), "{}", trouble.text);
        assert!(trouble.retry_in.is_some());
    }

    #[tokio::test]
    async fn a_ca_file_that_is_none_is_told_at_once() {
        let runtime = tokio::runtime::Handle::current();
        for (file, why) in [
            ("none.pem", "No such file or directory"),
            ("README", "it has no certificate"),
        ] {
            let options = Options {
                ca_file: Some(pem(file)),
                ..options("https://h/")
            };
            let host = Arc::<super::super::Looks>::default();
            let opened = super::super::Client::open(&runtime, options, host);
            let detail = opened.err().unwrap().detail.unwrap();
            let file = pem(file);
            assert_eq!(*detail, format!("the CA file {}: {why}", file.display()));
        }
    }

    #[tokio::test]
    async fn a_proxy_connects_to_what_it_is_not_to_read() {
        let mut server = Server::new();
        let url = "https://good.test/s";
        let reader = server.open(Options {
            proxy: Proxy::At("http://u:p@proxy:3128".into()),
            ..trusting(url)
        });
        let mut conn = server.accept().await;
        assert_eq!(conn.at, "proxy:3128");
        let (head, _) = conn.request().await;
        assert!(
            head.starts_with("CONNECT good.test:443 HTTP/1.1\r\n"),
            "{head}"
        );
        assert_eq!(field(&head, "host"), Some("good.test:443"));
        assert_eq!(field(&head, "proxy-authorization"), Some("Basic dTpw"));
        conn.say("HTTP/1.1 200 There\r\n\r\n").await;
        let stream = acceptor().accept(conn.stream).await.unwrap();
        let head = serve(stream).await;
        assert!(head.starts_with("GET /s HTTP/1.1\r\n"), "{head}");
        assert_eq!(field(&head, "proxy-authorization"), None);
        reads_a_stream(&reader, url).await;
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_connect_is_told() {
        let mut server = Server::new();
        let reader = server.open(Options {
            proxy: Proxy::At("http://proxy:3128".into()),
            ..trusting("https://good.test/s")
        });
        let mut conn = server.accept().await;
        conn.request().await;
        conn.say("HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n")
            .await;
        let trouble = trouble(&reader).await;
        assert_eq!(trouble.kind, TroubleKind::Proxy);
        let text = "the proxy answers 407 Proxy Authentication Required (https://good.test/s)";
        assert_eq!(trouble.text, text);
    }
}
