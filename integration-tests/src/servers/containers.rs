//! Servers in containers, on the host's network, so that they look to everybody like processes of this machine.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use mysql_async::{Conn, Opts};
use tao_shard_store::fleet::ServerFiles;
use testcontainers::core::{ExecCommand, error::ClientError};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _, TestcontainersError};

use super::{Image, ServersOptions};
use crate::region::free_address;

/// An image may have to be fetched, and its data made.
const START: Duration = Duration::from_secs(300);
/// Between two attempts to log in.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Where both images read further settings.
const SETTINGS: &str = "/etc/mysql/conf.d/tao.cnf";
/// Settings of a server that starts shut; written when the first start is over, because the image's own preparation writes.
const SHUT: &str = "/etc/mysql/conf.d/zz-tao-shut.cnf";
const ACCOUNT: &str = "/tao/account.sql";

/// Running containers; dropping them removes them.
pub(super) struct Containers {
    servers: Vec<Server>,
}

struct Server {
    container: ContainerAsync<GenericImage>,
    dsn: String,
    runs: bool,
}

impl Containers {
    pub(super) async fn start(image: &Image, options: ServersOptions) -> Result<Self> {
        let password = format!("{:032x}", rand::random::<u128>());
        let first_server_id: u32 = rand::random_range(1..u32::MAX / 2);
        let mut servers = Vec::new();
        for index in 0..options.groups * options.places {
            let address = free_address()?;
            let port: u16 = address.rsplit(':').next().unwrap_or_default().parse().context("a port")?;
            let files =
                ServerFiles::new(image.flavour, port, first_server_id + index as u32, &password, ACCOUNT);
            let container = GenericImage::new(&image.name, &image.tag)
                .with_network("host")
                .with_env_var("MYSQL_RANDOM_ROOT_PASSWORD", "1")
                .with_env_var("MARIADB_RANDOM_ROOT_PASSWORD", "1")
                .with_copy_to(SETTINGS, files.settings.into_bytes())
                .with_copy_to(ACCOUNT, files.account.into_bytes())
                .with_startup_timeout(START)
                .start()
                .await
                .map_err(|error| explain(error, image))?;
            let dsn = format!("mysql://tao:{password}@{address}/?prefer_socket=false");
            let server = Server { container, dsn, runs: true };
            server.ready().await?;
            if options.places > 1 {
                let script = format!("printf '%s' '{}' > {SHUT}", files.shut);
                server.container.exec(ExecCommand::new(["sh", "-c", &script])).await?;
                server.admin()?.set_read_only(true).await?;
            }
            servers.push(server);
        }
        Ok(Self { servers })
    }

    pub(super) fn dsn(&self, index: usize) -> Option<String> {
        self.servers.get(index).map(|server| server.dsn.clone())
    }

    pub(super) fn is_running(&self, index: usize) -> bool {
        self.servers.get(index).is_some_and(|server| server.runs)
    }

    pub(super) async fn kill(&mut self, index: usize) -> Result<()> {
        let server = self.servers.get_mut(index).with_context(|| format!("no server {index}"))?;
        // No time to end in order: the engine kills at once.
        server.container.stop_with_timeout(Some(0)).await?;
        server.runs = false;
        Ok(())
    }

    pub(super) async fn restart(&mut self, index: usize) -> Result<()> {
        let server = self.servers.get_mut(index).with_context(|| format!("no server {index}"))?;
        server.container.start().await?;
        server.ready().await?;
        server.runs = true;
        Ok(())
    }
}

impl Server {
    fn admin(&self) -> Result<tao_shard_store::replication::ServerAdmin> {
        Ok(tao_shard_store::replication::ServerAdmin::new(&self.dsn, super::CONNECT_LIMIT)?)
    }

    /// Waits until the server lets the tier's account in.
    async fn ready(&self) -> Result<()> {
        let opts = Opts::from_url(&self.dsn).context("the DSN of a container")?;
        let login = async {
            loop {
                match Conn::new(opts.clone()).await {
                    Ok(conn) => return conn.disconnect().await,
                    Err(_) => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        let Ok(closed) = tokio::time::timeout(START, login).await else {
            let log = self.container.stderr_to_vec().await.unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let end: Vec<&str> = log.lines().rev().take(20).collect();
            return Err(anyhow!("container {} is not ready after {START:?}: {end:#?}", self.container.id()));
        };
        Ok(closed?)
    }
}

/// What a person can do about it.
fn explain(error: TestcontainersError, image: &Image) -> anyhow::Error {
    let text = error.to_string();
    let no_engine = matches!(
        &error,
        TestcontainersError::Client(ClientError::Init(_) | ClientError::InvalidDockerHost(_))
    ) || text.contains("docker.sock")
        || text.contains("Socket not found")
        || text.contains("connect");
    if no_engine {
        return anyhow!(
            "docker:{}:{} needs a running Docker engine, and none answers ({text}). Start one, or set DOCKER_HOST, or leave \
             docker: away to use a server program of this machine",
            image.name,
            image.tag
        );
    }
    anyhow::Error::new(error).context(format!("start a container of {}:{}", image.name, image.tag))
}

#[cfg(test)]
mod tests {
    use super::super::{Servers, Source};
    use super::*;

    /// On a machine with an engine this starts a server; on others it says what is missing.
    #[tokio::test]
    async fn containers_serve_or_say_what_is_missing() {
        let source = Source::parse("docker:mariadb:10.11").unwrap();
        let options = ServersOptions::new(1, 1);
        match Servers::start(&source, options).await {
            Ok(servers) => {
                let role = servers.admin(0).unwrap().role().await.unwrap();
                assert!(!role.read_only);
            }
            Err(error) => {
                let text = format!("{error:#}");
                assert!(text.contains("Docker engine") && text.contains("DOCKER_HOST"), "{text}");
            }
        }
    }
}
