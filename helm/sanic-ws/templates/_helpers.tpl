{{- define "sanic-ws.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 47 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 47 characters, so that names of pods and of further objects keep within 63. */ -}}
{{- define "sanic-ws.fullname" -}}
{{- $name := include "sanic-ws.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- end -}}

{{- define "sanic-ws.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sanic-ws.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sanic-ws.labels" -}}
{{ include "sanic-ws.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Name, namespace and labels of an object: a list of the context, what follows the full name, further labels. */ -}}
{{- define "sanic-ws.metadata" -}}
{{- $ := index . 0 -}}
name: {{ include "sanic-ws.fullname" $ }}{{ index . 1 }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "sanic-ws.labels" $ | nindent 2 }}
  {{- with index . 2 }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "sanic-ws.serviceAccountName" -}}
{{- $own := ternary (include "sanic-ws.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{- define "sanic-ws.image" -}}
{{- with .Values.image -}}
{{- $name := ternary (printf "%s/%s" .registry .repository) .repository (ne .registry "") -}}
{{- if .digest -}}{{ $name }}@{{ .digest }}{{- else -}}{{ $name }}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{- /* YAML's numbers come as floats, which would be printed as 1.048576e+06. */ -}}
{{- define "sanic-ws.setting" -}}
{{- if kindIs "slice" . -}}{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}{{ int64 . }}
{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{- /* What selects this release's series: both monitors put namespace and pod on them. */ -}}
{{- define "sanic-ws.series" -}}
namespace="{{ .Release.Namespace }}",pod=~"{{ include "sanic-ws.fullname" . }}-[a-z0-9]+-[a-z0-9]+"
{{- end -}}

{{- /* What either monitor asks: a list of the context and the monitor's values. */ -}}
{{- define "sanic-ws.endpoint" -}}
- port: http
  path: /metrics
  interval: {{ (index . 1).interval }}
  scrapeTimeout: {{ (index . 1).scrapeTimeout }}
  {{- with (index . 0).Values.metricsKey }}
  authorization:
    credentials:
      {{- toYaml . | nindent 6 }}
  {{- end }}
{{- end -}}

{{- /* The link of an alert to its entry in the runbook: a list of the page, if any, and the alert's name. */ -}}
{{- define "sanic-ws.runbook" -}}
{{- with index . 0 }}
            runbook_url: {{ . }}#{{ lower (index $ 1) }}
{{- end }}
{{- end -}}

{{- define "sanic-ws.scales" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled }}true{{ end -}}
{{- end -}}

{{- define "sanic-ws.check" -}}
{{- $v := .Values -}}
{{- $drain := float64 (default 10 $v.config.DRAIN_S) -}}
{{- if hasKey $v.config "DRAIN_S" }}{{ $drain = float64 $v.config.DRAIN_S }}{{ end -}}
{{- $needs := addf $v.preStopSeconds $drain $v.terminationMarginSeconds -}}
{{- if ge $needs (float64 $v.terminationGracePeriodSeconds) -}}
{{- fail (printf "terminationGracePeriodSeconds: %v is not more than preStopSeconds + config.DRAIN_S + terminationMarginSeconds = %v: nodes would be killed while clients leave" $v.terminationGracePeriodSeconds $needs) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled $v.keda.enabled -}}
{{- fail "keda.enabled: not together with autoscaling.enabled" -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled -}}
{{- fail "podMonitor.enabled: not together with serviceMonitor.enabled, as every series would come twice" -}}
{{- end -}}
{{- if $v.networkPolicy.enabled -}}
{{- if and (or $v.httpRoute.enabled $v.ingress.enabled) (not $v.networkPolicy.publicFrom) -}}
{{- fail "networkPolicy.publicFrom: has to say where clients come from, with httpRoute or ingress" -}}
{{- end -}}
{{- if and (or $v.serviceMonitor.enabled $v.podMonitor.enabled) (not $v.networkPolicy.metricsFrom) -}}
{{- fail "networkPolicy.metricsFrom: has to say where Prometheus is, with serviceMonitor or podMonitor" -}}
{{- end -}}
{{- end -}}
{{- range $v.extraEnv -}}
{{- if has .name (list "SANIC_WS_DRAIN_S" "SANIC_WS_NODE_NAME" "SANIC_WS_PORT" "SANIC_WS_WORKERS") -}}
{{- fail (printf "extraEnv: %s is the chart's own, see config and containerPort" .name) -}}
{{- end -}}
{{- end -}}
{{- if not (or $v.existingSecret $v.extraEnvFrom) -}}
{{- $given := list -}}
{{- range $v.extraEnv }}{{ $given = append $given .name }}{{ end -}}
{{- range list "SANIC_WS_REDIS_URL" "SANIC_WS_AMQP_URL" "SANIC_WS_API_KEYS" -}}
{{- if not (has . $given) }}{{ fail (printf "existingSecret: is required, or %s in extraEnv" .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
