{{- define "weever.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "weever.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "weever.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "weever.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "weever.selector" -}}
app.kubernetes.io/name: {{ include "weever.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "weever.labels" -}}
{{ include "weever.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "weever.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The secret of the cluster: the operator's, or the one that is made. Subcharts know it by the release alone. */}}
{{- define "weever.clusterSecret" -}}
{{- .Values.cluster.existingSecret | default (printf "%s-cluster" .Release.Name) -}}
{{- end -}}

{{/* Settings of a plane, as its environment. */}}
{{- define "weever.settings" -}}
{{- range $name, $value := . }}
- name: {{ $name | replace "-" "_" | upper }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{/* Fails at what would only fail in the cluster. */}}
{{- define "weever.check" -}}
{{- $most := ternary (int .Values.autoscaling.maxReplicas) (int .Values.replicas) .Values.autoscaling.enabled -}}
{{- if and (eq .Values.media.mode "nodePort") (gt $most 10) -}}
{{- fail (printf "media.mode nodePort has ports for 10 nodes, not for %d: take hostNetwork" $most) -}}
{{- end -}}
{{- if and (eq .Values.media.mode "nodePort") (gt (int .Values.dataPlane.workers) 100) -}}
{{- fail "media.mode nodePort has 100 ports for each node: fewer dataPlane.workers" -}}
{{- end -}}
{{- if and .Values.media.publicIps .Values.media.publicIpOfMachine -}}
{{- fail "media.publicIps and media.publicIpOfMachine say the same thing: give one" -}}
{{- end -}}
{{- if and (not .Values.redis.enabled) (not .Values.existingRedisUrl) (not .Values.cluster.existingSecret) -}}
{{- fail "without redis.enabled, existingRedisUrl or cluster.existingSecret has to say where Redis is" -}}
{{- end -}}
{{- if and (not .Values.nats.enabled) (not .Values.existingNatsUrl) (not .Values.cluster.existingSecret) -}}
{{- fail "without nats.enabled, existingNatsUrl or cluster.existingSecret has to say where NATS is" -}}
{{- end -}}
{{- end -}}
