//! All publishers of a run, on a thread of their own: what viewers cost must not delay what they are sent.

use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::{Client, ClientError, Request};
use crate::clock::Clock;
use crate::impair::{self, Proxy};
use crate::load::Load;
use crate::publisher::{self, Sending, Sent, Style};
use crate::signal::Signal;
use crate::target::address_of;

/// Publishers that send.
pub(crate) struct Publishers {
    runtime: Option<Runtime>,
    tasks: Vec<JoinHandle<Result<(), ClientError>>>,
    stop: watch::Sender<bool>,
    sending: Arc<Sending>,
    proxy: Option<Arc<Proxy>>,
}

impl Publishers {
    /// Starts them one after the other, so that the first error is the first one's.
    pub(crate) async fn start(load: &Load, clock: Clock) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("publishers")
            .enable_all()
            .build()
            .context("starting the publishers' thread")?;
        let (stop, stopped) = watch::channel(false);
        let mut publishers = Self {
            runtime: Some(runtime),
            tasks: Vec::new(),
            stop,
            sending: Arc::default(),
            proxy: load.impair.publishers(load.seed)?.map(Arc::new),
        };
        for number in 1..=load.publishers {
            if let Err(error) = publishers.add(load, clock, number, stopped.clone()).await {
                publishers.stop().await;
                return Err(error);
            }
        }
        Ok(publishers)
    }

    async fn add(
        &mut self,
        load: &Load,
        clock: Clock,
        number: u32,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let Some(runtime) = &self.runtime else {
            return Ok(());
        };
        let signal = Signal::new(&load.signal)?;
        let endpoint = load.target.whip.url(number, number)?;
        let towards = address_of(&endpoint).await?;
        let style = Style {
            shape: load.shape.of_publisher(number),
            paced: load.paced,
            nack: load.nack,
            clock,
            sending: self.sending.clone(),
            file: load.file.clone(),
        };
        let (video, audio, proxy) = (load.video, load.audio, self.proxy.clone());
        let (connected, heard) = oneshot::channel();
        let task = runtime.spawn(async move {
            let certificate = str0m::crypto::from_feature_flags()
                .dtls_provider
                .generate_certificate()
                .ok_or(ClientError::Missing("certificate"))?;
            let request = Request {
                endpoint: &endpoint,
                towards,
                video,
                audio,
                frames: style.file.is_some(),
                certificate: &certificate,
            };
            let way = |server| {
                proxy
                    .as_ref()
                    .map_or(Ok(server), |proxy| proxy.route(number, server))
            };
            let client = Client::join(&signal, &request, way).await?;
            Box::pin(publisher::run(client, style, signal, stop, connected)).await
        });
        if heard.await.is_err() {
            task.await?.with_context(|| format!("publisher {number}"))?;
            bail!("publisher {number} ended before it was connected");
        }
        self.tasks.push(task);
        Ok(())
    }

    /// What has been sent so far.
    pub(crate) fn sent(&self) -> Sent {
        self.sending.now()
    }

    /// What the impaired way to the server did to datagrams.
    pub(crate) fn impaired(&self) -> Option<impair::Counts> {
        self.proxy.as_ref().map(|proxy| proxy.counts().0)
    }

    /// Why one has ended, if one has.
    pub(crate) async fn failure(&mut self) -> Option<String> {
        let at = self.tasks.iter().position(JoinHandle::is_finished)?;
        match self.tasks.swap_remove(at).await {
            Ok(Ok(())) => Some("a publisher has left".into()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// All leave.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // Whatever they say now, nothing comes of it.
            let _ = task.await;
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        // A runtime must not be dropped where others run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
