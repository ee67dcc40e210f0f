//! The admin port over real sockets.

use super::*;
use crate::metrics::{Counter, Gauge};

fn start(state: AdminState) -> (SocketAddr, Arc<AdminState>) {
    let state = Arc::new(state);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = AdminPort::start(listener, Arc::clone(&state)).expect("a thread");
    (port.address(), state)
}

fn server() -> (SocketAddr, Arc<AdminState>, Vec<Arc<ShardMetrics>>) {
    let metrics: Vec<Arc<ShardMetrics>> = (0..2).map(|_| Arc::default()).collect();
    let (address, state) = start(AdminState::new(metrics.clone(), "sync", || 60_000));
    (address, state, metrics)
}

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    stream.write_all(request).expect("room for a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, then the end");
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
}

/// Invariants 1 and 3 of node::admin_port.
#[test]
fn readiness_is_200_exactly_while_ready() {
    let (address, state, _) = server();
    for (readiness, code) in
        [(Readiness::Starting, 503), (Readiness::Ready, 200), (Readiness::Draining, 503)]
    {
        state.set_readiness(readiness);
        let answer = get(address, "/readyz");
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        assert!(answer.contains(&format!("\"status\":\"{}\"", readiness.word())), "{answer}");
    }
}

/// Invariant 3 of node::admin_port.
#[test]
fn health_turns_red_with_a_failed_store() {
    let (address, _, metrics) = server();
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 OK"));
    metrics[1].set(Gauge::StoreFailed, 1);
    let answer = get(address, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("\"storeFailed\":[1]}\n"), "{answer}");
}

#[test]
fn metrics_tell_of_the_process_and_its_shards() {
    let (address, _, metrics) = server();
    metrics[0].set(Gauge::Connections, 5);
    let answer = get(address, "/metrics?now");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("anser_connections{shard=\"0\"} 5\n"));
    assert!(!answer.contains("anser_process_resident_bytes 0\n"));
    assert!(!answer.contains("anser_process_open_files 0\n"));
}

#[test]
fn the_page_learns_where_users_are_served() {
    let ports = Ports { http: 8093, ws: 6666 };
    let (address, _) = start(AdminState::new(Vec::new(), "sync", || 0).with_ports(ports));
    assert!(get(address, "/admin/ports").ends_with("\r\n\r\n{\"http\":8093,\"ws\":6666}\n"));
    assert!(get(address, "/").contains("/admin/ports"));
}

#[test]
fn what_is_not_there_is_refused_by_its_code() {
    let (address, _, _) = server();
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
    let long = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(2 * limits::HEAD_BYTES_MAX));
    for (request, code) in [
        ("GET /nothing HTTP/1.1\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\n\r\n", 405),
        ("nonsense\r\n\r\n", 400),
        (many.as_str(), 431),
        (long.as_str(), 431),
        ("GET / HTTP/1.1\r\n", 408),
    ] {
        let answer = ask(address, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let (address, _, _) = server();
    let answer = ask(address, b"HEAD / HTTP/1.1\r\n\r\n");
    assert!(answer.contains(&format!("content-length: {}\r\n", PAGE.len())), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"));
}

/// Invariant 2 of node::admin_port.
#[test]
fn silent_peers_are_cut_and_keep_nobody_out_for_long() {
    let (address, _, _) = server();
    let silent: Vec<TcpStream> =
        (0..SERVED_MAX * 2).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    let deadline = Instant::now() + 5 * PATIENCE;
    while Instant::now() < deadline {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok();
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200") {
            drop(silent);
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the port did not answer again");
}

/// Invariant 1 of metrics.
#[test]
fn a_reader_sees_figures_whole_and_rising_while_their_shard_counts() {
    let metrics = Arc::new(ShardMetrics::default());
    let (writer, step) = (metrics.clone(), (1 << 33) + 1);
    let counting = std::thread::spawn(move || {
        (0..200_000).for_each(|_| writer.count(Counter::BytesIn, step));
    });
    let mut last = 0;
    while !counting.is_finished() {
        let value = metrics.counter(Counter::BytesIn);
        assert!(value >= last && value % step == 0, "{value} after {last}");
        last = value;
    }
    counting.join().expect("it counts");
    assert_eq!(metrics.counter(Counter::BytesIn), 200_000 * step);
}
