//! The page for people: one self-contained document, which asks this port once a second, and lets
//! two people try the server over its real ports. Its parts are put together by the compiler.

/// Served at `/`.
pub const PAGE: &str = concat!(
    include_str!("page.html"),
    "<script>\n",
    include_str!("page/helpers.js"),
    include_str!("page/figures.js"),
    include_str!("page/messages.js"),
    include_str!("page/people.js"),
    include_str!("page/round.js"),
    "</script>\n</html>\n",
);

#[cfg(test)]
mod tests {
    use super::PAGE;
    use crate::metrics::{Counter, Gauge};

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        assert!(!PAGE.contains("http://") && !PAGE.contains("https://"));
        assert!(!PAGE.contains("src=") && !PAGE.replace("url(#", "").contains("url("));
        assert!(PAGE.contains("default-src 'none'"));
    }

    #[test]
    fn the_page_names_figures_that_exist() {
        let counters = Counter::ALL.iter().map(|figure| figure.name());
        let known: Vec<_> = counters.chain(Gauge::ALL.iter().map(|figure| figure.name())).collect();
        let tiles = PAGE.split("TILES = [").nth(1).and_then(|rest| rest.split("];").next());
        let tiles = tiles.expect("a list of tiles").split('"').skip(1).step_by(2);
        // What a shard's row and circle show.
        let of_shards = PAGE.split("figures.").skip(1);
        let of_shards = of_shards.filter_map(|rest| {
            rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').next()
        });
        let named = tiles.skip(1).step_by(2).chain(of_shards);
        let named: Vec<_> = named.filter(|name| !name.is_empty()).collect();
        assert!(named.len() > 8, "{named:?}");
        for name in named {
            assert!(known.contains(&name), "{name}");
        }
    }
}
