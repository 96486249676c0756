// How loud something is, from 0 to 1, for level meters.

/** A meter on a local track. `level()` is its loudness now. */
export class LocalMeter {
  constructor(track) {
    this.context = new AudioContext();
    this.analyser = new AnalyserNode(this.context, { fftSize: 512 });
    this.samples = new Float32Array(this.analyser.fftSize);
    this.context.createMediaStreamSource(new MediaStream([track])).connect(this.analyser);
  }

  level() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const sum = this.samples.reduce((total, sample) => total + sample * sample, 0);
    return loudness(Math.sqrt(sum / this.samples.length));
  }

  stop() {
    this.context.close();
  }
}

/** The loudness of what an RTCRtpReceiver plays now. The browser knows it without any audio graph of ours. */
export function receiverLevel(receiver) {
  const [source] = receiver.getSynchronizationSources();
  if (!source || performance.timeOrigin + performance.now() - source.timestamp > 1000) return 0;
  return loudness(source.audioLevel ?? 0);
}

// Ears hear in decibels: -60 dB is 0, full scale is 1.
function loudness(amplitude) {
  return amplitude <= 0.001 ? 0 : Math.min(1, 1 + Math.log10(amplitude) / 3);
}
