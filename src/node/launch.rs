//! Starting and stopping: from a configuration to pinned shards, and from a signal to exit.
//!
//! Invariants:
//! 1. What can be refused is refused before any shard starts, and in words.
//! 2. `ready` is printed once, when every shard has applied what outboxes held at start.
//! 3. After a signal the server stops accepting, finishes what was begun, syncs, and ends within
//!    `limits::DRAIN_MS_MAX` and a little.
//! 4. A shard whose store fails acks nothing more; the others are drained and the server ends
//!    with an error. A panic anywhere ends the process: it never limps on.
//!
//! Left to others: what the machine must have (`doctor`), the data folder (`data_folder`).

use crate::admin::status::Ports;
use crate::chat::clock::Clock;
use crate::chat::directory::Directory;
use crate::chat::forget::Retention;
use crate::chat::shard::{Place, Shard};
use crate::config::{self, Config, StoreKind};
use crate::ids::ShardId;
use crate::limits::SHARDS_MAX;
use crate::metrics::ShardMetrics;
use crate::node::admin_port::{AdminPort, AdminState};
use crate::node::clock::{self, steady_nanos};
use crate::node::control::{Control, Report, Stage};
use crate::node::cuts::Cuts;
use crate::node::data_folder::{self, DataFolderError, FolderLock, Shards};
use crate::node::desk::{Desk, Fittings};
use crate::node::doctor::{self, Check, Verdict};
use crate::node::forgetting;
use crate::node::indexer::{self, Link, Opening};
use crate::node::listener::{Listeners, bind_all, files_for_connections};
use crate::node::log_writer::LogWriter;
use crate::node::manifest_file;
use crate::node::mesh::{Doorbell, Mesh, bells, meshes};
use crate::node::pace::Pace;
use crate::node::readers::{Fetcher, Jobs, fetchers};
use crate::node::recover::Opened;
use crate::node::room::Room;
use crate::node::shard_loop::{ShardError, ShardLoop};
use crate::node::watch::{Addresses, Watch};
use crate::store::keys::Kind;
use crate::store::log::Durability;
use crate::store::logged::LoggedStore;
use crate::store::manifest::Manifest;
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreError};
use crate::wire::session::{ErrorStyle, WireOptions};
use glommio::{LocalExecutorBuilder, Placement};
use rustix::fd::OwnedFd;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Requests of a shard's executor that wait for the kernel: its one task waits in its own ring.
const EXECUTOR_DEPTH: usize = 8;
/// Bytes of table blocks that all stores together keep in memory.
const CACHE_BYTES: u64 = 256 * 1024 * 1024;

/// Why the server does not run, or ran no further.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The machine lacks something.
    #[error("this machine cannot run the server: {0}")]
    Unfit(String),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// An address cannot be listened on.
    #[error("--{setting} {address}: cannot listen there")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// A shard's thread could not be started.
    #[error("shard {0} cannot be started: {1}")]
    Thread(ShardId, glommio::GlommioError<()>),
    /// A shard failed.
    #[error("shard {0} failed")]
    Shard(ShardId, #[source] ShardError),
}

/// How many shards, and lanes, and the lock that makes the folder ours.
struct Layout {
    shards: u16,
    lanes: u16,
    folder: Option<(Manifest, FolderLock)>,
}

/// What a shard's thread starts with.
pub(super) struct Berth {
    pub(super) place: Place,
    pub(super) mesh: Mesh,
    pub(super) listeners: Listeners,
    pub(super) directory: Arc<Directory>,
    pub(super) metrics: Arc<ShardMetrics>,
    pub(super) options: WireOptions,
    pub(super) retention: Retention,
    pub(super) stage: Arc<Stage>,
    pub(super) cuts: Arc<Cuts>,
    pub(super) reports: Sender<Report>,
    /// The way to the indexer and how the store is opened, where there is a disk.
    pub(super) disk: Option<(Link, Opening)>,
    /// Asks for rows on the disk, and what its own readers are asked for.
    pub(super) readers: Option<(Fetcher, Jobs)>,
}

/// Runs the server until a signal ends it.
pub fn serve(config: &Config) -> Result<(), ServeError> {
    refuse_unfit(&doctor::examine(config))?;
    let cores = allowed_cores();
    refuse_taken_ports(config)?;
    let layout = lay_out(config, cores.len())?;
    let (http, http_sockets) = listen("http", config.http, layout.shards)?;
    let (ws, ws_sockets) = listen("ws", config.ws, layout.shards)?;
    let metrics: Vec<_> = (0..layout.shards).map(|_| Arc::default()).collect();
    let system = |doing| move |source| ServeError::System { doing, source };
    let bells = bells(layout.shards).map_err(system("make an eventfd"))?;
    let cuts = begin_cuts(config, &bells).map_err(system("remove what a backup has left"))?;
    let (admin, admin_state) = start_admin(config, (http, ws), &metrics, &cuts)?;
    let stage = Arc::new(Stage::new(bells.clone()));
    let (reports, inbox) = channel();
    abort_on_panic();
    watch_signals(reports.clone()).map_err(system("watch signals"))?;
    let room = watch_room(config, &metrics).map_err(system("watch the disk"))?;
    let (links, indexed) = start_indexer(config, &bells, (&cuts, &room), &metrics, &cores)?;
    let mut links = links.into_iter();
    let mut readers = fetchers(&bells).into_iter();
    let directory = Arc::new(Directory::new());
    let sockets = http_sockets.into_iter().zip(ws_sockets);
    let files_end = files_for_connections(files_max(), layout.shards);
    for (index, ((http, ws), mesh)) in sockets.zip(meshes(&bells)).enumerate() {
        let shard = ShardId(index as u16);
        let berth = Berth {
            place: Place { shard, shards: layout.shards, lanes: layout.lanes },
            mesh,
            listeners: Listeners::new(Some(http), Some(ws), files_end),
            directory: directory.clone(),
            metrics: metrics[index].clone(),
            options: wire_options(config),
            retention: forgetting::retention(config),
            stage: stage.clone(),
            cuts: cuts.clone(),
            reports: reports.clone(),
            disk: links.next().map(|link| (link, opening(config, shard, &layout))),
            readers: readers.next(),
        };
        let core = cores[(usize::from(config.pin_from) + index) % cores.len()];
        start_shard(berth, core, config.store)?;
    }
    let addresses = Addresses { http, ws, admin };
    let shards = layout.shards;
    let folder = layout.folder.as_ref().map(|(manifest, _)| manifest);
    Watch { config, folder, stage, inbox, admin_state, addresses, shards, indexed }.run()
}

/// Cuts of the data folder, where there is one, are made anew in each run.
fn begin_cuts(config: &Config, bells: &Arc<[Doorbell]>) -> io::Result<Arc<Cuts>> {
    if config.store != StoreKind::Disk {
        return Ok(Arc::new(Cuts::new(config.data_dir.clone(), bells.clone())));
    }
    let cuts = Cuts::new(config.data_dir.canonicalize()?, bells.clone());
    cuts.remove_stale()?;
    Ok(Arc::new(cuts))
}

/// Starts the indexer where there is a disk: a link for each shard, and its end.
fn start_indexer(
    config: &Config,
    bells: &Arc<[Doorbell]>,
    (cuts, room): (&Arc<Cuts>, &Arc<Room>),
    metrics: &[Arc<ShardMetrics>],
    cores: &[usize],
) -> Result<(Vec<Link>, Option<Receiver<()>>), ServeError> {
    if config.store != StoreKind::Disk {
        return Ok((Vec::new(), None));
    }
    let refused = |source| ServeError::System { doing: "start the indexer", source };
    let pace = Pace::new(metrics.into(), room.clone());
    let started = indexer::start(bells, cuts, &pace, room, config.indexer_core, cores);
    let (links, end) = started.map_err(refused)?;
    Ok((links, Some(end)))
}

/// The disk of the data folder, looked at from now on; one without an end where there is none.
fn watch_room(config: &Config, metrics: &[Arc<ShardMetrics>]) -> io::Result<Arc<Room>> {
    if config.store != StoreKind::Disk {
        return Ok(Room::endless());
    }
    let room = Room::of(&config.data_dir);
    room.watch(u64::from(config.disk_reserve_mb) << 20, metrics.to_vec())?;
    Ok(room)
}

fn opening(config: &Config, shard: ShardId, layout: &Layout) -> Opening {
    let (manifest, _) = layout.folder.as_ref().expect("a disk's folder was opened before");
    Opening {
        folder: data_folder::home(&config.data_dir, manifest, shard),
        durability: match config.durability {
            config::Durability::Sync => Durability::Sync,
            config::Durability::Async => Durability::Async,
        },
        cache_bytes: CACHE_BYTES / u64::from(layout.shards),
    }
}

pub(super) fn refuse_unfit(checks: &[Check]) -> Result<(), ServeError> {
    for check in checks {
        match check.verdict {
            Verdict::Ok => {}
            Verdict::Warn => tracing::warn!("{}: {}", check.name, check.words),
            Verdict::Fail => {
                return Err(ServeError::Unfit(format!("{}: {}", check.name, check.words)));
            }
        }
    }
    Ok(())
}

/// The cores that this process may run on, in order.
pub(super) fn allowed_cores() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let cores: Vec<usize> =
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|c| set.is_set(*c)).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// How many files this process may have open: as many as `doctor` could get.
fn files_max() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn lay_out(config: &Config, cores: usize) -> Result<Layout, ServeError> {
    let default = u16::try_from(cores).unwrap_or(SHARDS_MAX).clamp(1, SHARDS_MAX);
    if config.store != StoreKind::Disk {
        let shards = config.shards.unwrap_or(default);
        return Ok(Layout { shards, lanes: shards.next_power_of_two(), folder: None });
    }
    let shards = Shards { asked: config.shards, default };
    let (manifest, lock) = data_folder::open_or_create(&config.data_dir, shards)?;
    for folder in data_folder::strays(&config.data_dir, &manifest)? {
        let folder = folder.display();
        tracing::warn!(%folder, "a reshard was broken off: what it left takes room, remove it");
    }
    let Manifest { shards, lanes, .. } = manifest;
    Ok(Layout { shards, lanes, folder: Some((manifest, lock)) })
}

/// A folder that a start makes has its shard count until it is resharded: none is made by a start
/// that fails because another server has the ports.
fn refuse_taken_ports(config: &Config) -> Result<(), ServeError> {
    let makes_folder = config.store == StoreKind::Disk
        && !manifest_file::is_there(&config.data_dir).is_ok_and(|is| is);
    if makes_folder {
        let ports = [("http", config.http), ("ws", config.ws), ("admin", config.admin)];
        for (setting, address) in ports {
            listen(setting, address, 1)?;
        }
    }
    Ok(())
}

pub(super) fn listen(
    setting: &'static str,
    address: SocketAddr,
    shards: u16,
) -> Result<(SocketAddr, Vec<OwnedFd>), ServeError> {
    let refused = |source| ServeError::Listen { setting, address, source };
    bind_all(address, shards).map_err(refused)
}

fn start_admin(
    config: &Config,
    (http, ws): (SocketAddr, SocketAddr),
    metrics: &[Arc<ShardMetrics>],
    cuts: &Arc<Cuts>,
) -> Result<(SocketAddr, Arc<AdminState>), ServeError> {
    let address = config.admin;
    let refused = |source| ServeError::Listen { setting: "admin", address, source };
    let listener = std::net::TcpListener::bind(address).map_err(refused)?;
    let durability = config.durability_word();
    let steady_ms = || steady_nanos() / 1_000_000;
    let cuts = (config.store == StoreKind::Disk).then(|| cuts.clone());
    let state = AdminState::new(metrics.to_vec(), durability, steady_ms).with_cuts(cuts);
    let state = state.with_ports(Ports { http: http.port(), ws: ws.port() });
    let state = Arc::new(state);
    let port = AdminPort::start(listener, state.clone()).map_err(refused)?;
    Ok((port.address(), state))
}

fn wire_options(config: &Config) -> WireOptions {
    let errors = match config.errors {
        config::ErrorStyle::Seed => ErrorStyle::Seed,
        config::ErrorStyle::Rest => ErrorStyle::Rest,
    };
    // Settings last as long as the process.
    let origins = config.origins.clone().map(|origins| &*origins.leak());
    WireOptions {
        errors,
        utc_offset_seconds: config.utc_offset_seconds,
        origins,
        ..Default::default()
    }
}

/// A shard that has panicked holds what others wait for: nothing goes on without it.
pub(super) fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        eprintln!("anser: this is a bug; the process ends now, and nothing acked is lost");
        std::process::abort();
    }));
}

pub(super) fn watch_signals(reports: Sender<Report>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            // The main thread is gone only when the process ends.
            let _ = reports.send(Report::Signal);
        }
    })?;
    Ok(())
}

pub(super) fn start_shard(berth: Berth, core: usize, store: StoreKind) -> Result<(), ServeError> {
    let shard = berth.place.shard;
    let name = format!("shard-{shard}");
    let thread = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name(&name)
        .io_memory(0)
        .ring_depth(EXECUTOR_DEPTH)
        .spawn(move || async move {
            let reports = berth.reports.clone();
            let result = match store {
                StoreKind::Disk => run_on_disk(berth).await,
                StoreKind::Memory => run_in_memory(MemoryStore::default(), berth).await,
                StoreKind::Nothing => {
                    run_in_memory(MemoryStore::default().keeping(is_no_message), berth).await
                }
            };
            // The main thread is gone only when the process ends.
            let _ = reports.send(Report::Ended(shard, result));
        });
    thread.map(drop).map_err(|error| ServeError::Thread(shard, error))
}

/// Opens the store on disk and runs a shard on it.
async fn run_on_disk(mut berth: Berth) -> Result<(), ShardError> {
    let (link, opening) = berth.disk.take().expect("a disk was prepared for each shard");
    let Opened { view, log, files } = link.open(opening)?;
    let writer = LogWriter::new(link, files, berth.metrics.clone());
    let (fetcher, jobs) = berth.readers.take().expect("readers were prepared for each shard");
    jobs.start(berth.place.shard, &view)?;
    let reader = view.reader();
    let mut store = LoggedStore::new(view, log);
    store.recent().expect("it has a log").make_room();
    // Nobody is served yet, so there is time to find out which file is damaged.
    let shard = open(store, &berth).map_err(|error| reader.told(error))?;
    drop(reader);
    run(shard, Some(writer), Some(fetcher), berth).await
}

async fn run_in_memory(store: MemoryStore, berth: Berth) -> Result<(), ShardError> {
    run(open(store, &berth)?, None, None, berth).await
}

fn open<S: Store>(store: S, berth: &Berth) -> Result<Shard<S>, StoreError> {
    let Berth { place, directory, metrics, retention, .. } = berth;
    let mut shard = Shard::open(store, *place, directory.clone(), metrics.clone())?;
    shard.retain(*retention)?;
    Ok(shard)
}

/// Runs a shard to its end.
async fn run<S: Store>(
    shard: Shard<S>,
    log_writer: Option<LogWriter>,
    fetcher: Option<Fetcher>,
    berth: Berth,
) -> Result<(), ShardError> {
    let Berth { place, mesh, listeners, directory, metrics, options, .. } = berth;
    let control = Control::new(berth.stage, berth.cuts, berth.reports);
    let mut clock = Clock::new(clock::read(), directory.shown());
    let now = clock.now(clock::read(), directory.shown());
    let fittings = Fittings { place, options, shard, directory, metrics, mesh, now };
    let mut desk = Desk::new(fittings);
    if let Some(fetcher) = fetcher {
        desk.fetch_with(fetcher);
    }
    let mut shard = ShardLoop::new(desk, listeners, control, clock, log_writer)?;
    // The new epoch is on disk before anybody hears of this shard.
    shard.sync_whole()?;
    shard.report_opened();
    shard.run()
}

/// What the stand-in store keeps: all but the rows of messages.
fn is_no_message(key: &[u8]) -> bool {
    let thrown_away =
        [Kind::Message, Kind::PairBlock, Kind::IdBlock, Kind::LateId].map(|kind| kind as u8);
    key.first().is_none_or(|kind| !thrown_away.contains(kind))
}
