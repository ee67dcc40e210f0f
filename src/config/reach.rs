//! Where a server is reached by those who call it: its tools and its load.

use std::net::{SocketAddr, ToSocketAddrs};

/// An address, or a name and port such as `localhost:8093`, looked up now. Servers listen at
/// addresses only: a name may be of many machines.
///
/// # Errors
/// In words, when nobody knows the name.
pub fn reached_at(text: &str) -> Result<SocketAddr, String> {
    let all: Vec<SocketAddr> = text.to_socket_addrs().map_err(|error| error.to_string())?.collect();
    // Servers listen on 127.0.0.1 by default, and a name may be one of both kinds.
    let first = all.iter().find(|it| it.is_ipv4()).or(all.first());
    first.copied().ok_or_else(|| "a name without an address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_names() {
        let expected = SocketAddr::from(([127, 0, 0, 1], 8093));
        for text in ["127.0.0.1:8093", "localhost:8093"] {
            assert_eq!(reached_at(text), Ok(expected));
        }
        for text in ["localhost", "8093", "", "127.0.0.1:99999"] {
            assert!(reached_at(text).is_err(), "{text:?}");
        }
    }
}
