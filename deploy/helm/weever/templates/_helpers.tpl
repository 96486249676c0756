{{/* The release's name, with the chart's if that isn't in it. */}}
{{- define "weever.name" -}}
{{- $name := ternary .Release.Name (printf "%s-weever" .Release.Name) (contains "weever" .Release.Name) -}}
{{- $name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "weever.selector" -}}
app.kubernetes.io/name: weever
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weever.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "weever.selector" . }}
{{- end }}

{{- define "weever.onHost" -}}
{{- if eq .Values.udp.reach "hostNetwork" }}true{{ end }}
{{- end }}

{{- define "weever.privateHost" -}}
{{- .Values.private.host | default (ternary "127.0.0.1" "0.0.0.0" (eq .Values.udp.reach "hostNetwork")) -}}
{{- end }}

{{/* Pods that there may be. */}}
{{- define "weever.podsMax" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicas }}{{ end }}
{{- end }}

{{/* A GET to the private API, for probes and hooks. The kubelet asks from its machine, which with hostNetwork is the pod's loopback. */}}
{{- define "weever.get" -}}
httpGet:
  path: {{ .path }}
  port: private
  {{- if hasPrefix "127." (include "weever.privateHost" .root) }}
  host: {{ include "weever.privateHost" .root }}
  {{- end }}
{{- end }}

{{/* Combinations that can't work, each with its way out. */}}
{{- define "weever.check" -}}
{{- $pods := include "weever.podsMax" . | int -}}
{{- if and (gt $pods 1) (not .Values.cluster.enabled) }}
{{- fail "several pods need cluster.enabled: without Redis and NATS each would be a world of its own" }}
{{- end }}
{{- if and (not .Values.cluster.enabled) (or .Values.redis.enabled .Values.nats.enabled) }}
{{- fail "without cluster.enabled nobody uses Redis and NATS: set redis.enabled and nats.enabled to false" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" }}
{{- end }}
{{- $last := sub (add (int .Values.udp.port) (mul $pods (int .Values.workers))) 1 -}}
{{- if and (eq .Values.udp.reach "nodePort") (or (lt (int .Values.udp.port) 30000) (gt (int $last) 32767)) }}
{{- fail (printf "udp.port: node ports %d to %d are wanted, and 30000 to 32767 are there" (int .Values.udp.port) (int $last)) }}
{{- end }}
{{- $loopback := hasPrefix "127." (include "weever.privateHost" .) -}}
{{- if and $loopback (not (include "weever.onHost" .)) }}
{{- fail "private.host: without hostNetwork the kubelet can't reach a pod's loopback" }}
{{- end }}
{{- if and $loopback .Values.serviceMonitor.enabled }}
{{- fail "serviceMonitor: Prometheus can't reach a loopback address; set private.host to 0.0.0.0 and firewall private.port on the machines" }}
{{- end }}
{{- if and (include "weever.onHost" .) .Values.networkPolicy.enabled }}
{{- fail "networkPolicy: none applies to pods with hostNetwork; firewall private.port on the machines" }}
{{- end }}
{{- end }}
