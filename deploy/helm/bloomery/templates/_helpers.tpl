{{/* Labels of every object; the argument is (dict "root" $ "component" NAME). */}}
{{- define "bloomery.labels" -}}
{{ include "bloomery.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Labels that tell a component's pods. */}}
{{- define "bloomery.selector" -}}
app.kubernetes.io/name: bloomery
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "bloomery.metadata" -}}
name: {{ .root.Release.Name }}-{{ .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "bloomery.labels" . | nindent 2 }}
{{- end }}

{{/* What every pod begins with; `user` is its numeric user. */}}
{{- define "bloomery.pod" -}}
automountServiceAccountToken: {{ .account | default false }}
serviceAccountName: {{ .root.Release.Name }}-{{ .component }}
# Variables that tell where Services are would be taken for settings: their names begin alike.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The replicas of a component on as many nodes as there are. */}}
{{- define "bloomery.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "bloomery.selector" . | nindent 8 }}
{{- end }}

{{- define "bloomery.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "bloomery.credentials" -}}
{{ .Values.credentials.existingSecret | default (printf "%s-credentials" .Release.Name) }}
{{- end }}

{{- define "bloomery.certificate" -}}
{{ .Values.tls.existingSecret | default (printf "%s-tls" .Release.Name) }}
{{- end }}

{{- define "bloomery.storeCredentials" -}}
{{- if eq .Values.objectStore.mode "external" -}}
{{ .Values.objectStore.existingSecret }}
{{- else -}}
{{ include "bloomery.credentials" . }}
{{- end }}
{{- end }}

{{/* What the release consists of; each has a certificate and an account. */}}
{{- define "bloomery.components" -}}
{{- $found := keys .Values.services | sortAlpha -}}
{{- if eq .Values.database.mode "embedded" }}{{ $found = append $found "postgres" }}{{ end -}}
{{- if eq .Values.objectStore.mode "embedded" }}{{ $found = append $found "minio" }}{{ end -}}
{{- if eq .Values.triton.mode "embedded" }}{{ $found = append $found "triton" }}{{ end -}}
{{- if not .Values.gateway.enabled }}{{ $found = append $found "proxy" }}{{ end -}}
{{ toJson $found }}
{{- end }}

{{/* The Secrets with certificates, and for which names and addresses each is. */}}
{{- define "bloomery.certificates" -}}
{{- $found := dict -}}
{{- range $component := include "bloomery.components" . | fromYamlArray -}}
{{- $names := list -}}
{{- range $service := list (printf "%s-%s" $.Release.Name $component) (printf "%s-%s-pods" $.Release.Name $component) -}}
{{- $names = concat $names (list $service (printf "%s.%s" $service $.Release.Namespace) (printf "%s.%s.svc" $service $.Release.Namespace)) -}}
{{- end -}}
{{- $_ := set $found (printf "%s-%s-tls" $.Release.Name $component) (dict "names" $names "addresses" list) -}}
{{- end -}}
{{- if not .Values.tls.existingSecret -}}
{{- $host := include "bloomery.host" . -}}
{{- $ip := regexMatch "^([0-9.]+|\\[.*\\])$" $host -}}
{{- $_ := set $found (include "bloomery.certificate" .) (dict "names" (ternary (list) (list $host) $ip) "addresses" (ternary (list (trimAll "[]" $host)) (list) $ip)) -}}
{{- end -}}
{{ toJson $found }}
{{- end }}

{{/* The ConfigMap, also in the namespace of the workers, with the authority of the release's own certificates. */}}
{{- define "bloomery.ownAuthority" -}}
{{ ternary .Values.tls.certManager.authorityConfigMap (printf "%s-authority" .Release.Name) .Values.tls.certManager.enabled }}
{{- end }}

{{/* The certificate of a component, and the authorities of all; arguments: root, component, mode. */}}
{{- define "bloomery.tlsVolume" -}}
- name: tls
  secret: {secretName: {{ .root.Release.Name }}-{{ .component }}-tls{{ with .mode }}, defaultMode: {{ . }}{{ end }}}
{{- end }}

{{- define "bloomery.tlsMount" -}}
- {name: tls, mountPath: /etc/bloomery/tls, readOnly: true}
{{- end }}

{{/* What each component serves of the contracts. */}}
{{- define "bloomery.served" -}}
access:
  - bloomery.access.v1.AccessService
  - bloomery.access.v1.AuditService
  - bloomery.access.v1.QuotaService
annotation: [bloomery.annotation.v1.AnnotationService]
dataset: [bloomery.dataset.v1.DatasetService]
trainer: [bloomery.training.v1.JobService]
inference:
  - bloomery.inference.v1.ModelService
  - bloomery.inference.v1.PredictionService
  - bloomery.inference.v1.DeploymentService
  - bloomery.inference.v1.ServingService
{{- end }}

{{/* A HorizontalPodAutoscaler; arguments: root, component, autoscaling. */}}
{{- define "bloomery.autoscaler" -}}
{{- if .autoscaling.enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "bloomery.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .root.Release.Name }}-{{ .component }}}
  minReplicas: {{ .autoscaling.minReplicas }}
  maxReplicas: {{ .autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .autoscaling.cpu }}}}
  behavior:
    # A replica that goes ends its watches and streams: rarely, and one after the other.
    scaleDown: {stabilizationWindowSeconds: 600, policies: [{type: Pods, value: 1, periodSeconds: 120}]}
{{- end }}
{{- end }}

{{/* Host of publicEndpoint, without its port. */}}
{{- define "bloomery.host" -}}
{{ regexReplaceAll ":[0-9]+$" (trimPrefix "https://" .Values.publicEndpoint) "" }}
{{- end }}

{{/* One variable out of a Secret. */}}
{{- define "bloomery.secretVariable" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}

{{/* What services read from files, which may be exchanged: one volume, so that all of it changes at one moment. */}}
{{- define "bloomery.credentialsVolume" -}}
- name: credentials
  projected:
    sources:
      - secret:
          name: {{ include "bloomery.credentials" . }}
          items:
            - {key: token, path: token}
            {{- if eq .Values.database.mode "embedded" }}
            - {key: database-password, path: database-password}
            {{- end }}
      {{- if and (eq .Values.database.mode "external") .Values.database.passwordKey }}
      - secret:
          name: {{ .Values.database.existingSecret }}
          items: [{key: {{ .Values.database.passwordKey }}, path: database-password}]
      {{- end }}
      - secret:
          name: {{ include "bloomery.storeCredentials" . }}
          items:
            - {key: object-store-access-key, path: object-store-access-key}
            - {key: object-store-secret-key, path: object-store-secret-key}
{{- end }}

{{- define "bloomery.credentialsMount" -}}
- {name: credentials, mountPath: /etc/bloomery/credentials, readOnly: true}
{{- end }}

{{/* Settings of every service. */}}
{{- define "bloomery.settings" -}}
- {name: BLOOMERY_TOKEN_FILE, value: /etc/bloomery/credentials/token}
- {name: BLOOMERY_TLS_CERTIFICATE, value: /etc/bloomery/tls/tls.crt}
- {name: BLOOMERY_TLS_KEY, value: /etc/bloomery/tls/tls.key}
- {name: BLOOMERY_NEIGHBOUR_CA, value: /etc/bloomery/tls/ca.crt}
{{- if eq .Values.database.mode "external" }}
{{ include "bloomery.secretVariable" (dict "name" "BLOOMERY_DATABASE_URL" "secret" .Values.database.existingSecret "key" "url") }}
{{- else }}
- {name: BLOOMERY_DATABASE_URL, value: "postgresql+asyncpg://bloomery@{{ .Release.Name }}-postgres:5432/bloomery?ssl=verify-full"}
- {name: PGSSLROOTCERT, value: /etc/bloomery/tls/ca.crt}
{{- end }}
{{- if or (eq .Values.database.mode "embedded") .Values.database.passwordKey }}
- {name: BLOOMERY_DATABASE_PASSWORD_FILE, value: /etc/bloomery/credentials/database-password}
{{- end }}
- {name: BLOOMERY_OBJECT_STORE__KIND, value: s3}
- {name: BLOOMERY_OBJECT_STORE__BUCKET, value: {{ .Values.objectStore.bucket | quote }}}
- {name: BLOOMERY_OBJECT_STORE__REGION, value: {{ .Values.objectStore.region | quote }}}
{{- if eq .Values.objectStore.mode "external" }}
- {name: BLOOMERY_OBJECT_STORE__ENDPOINT, value: {{ .Values.objectStore.endpoint | quote }}}
- {name: BLOOMERY_OBJECT_STORE__PUBLIC_ENDPOINT, value: {{ .Values.objectStore.publicEndpoint | quote }}}
{{- else }}
- {name: BLOOMERY_OBJECT_STORE__ENDPOINT, value: "https://{{ .Release.Name }}-minio:9000"}
- {name: BLOOMERY_OBJECT_STORE__PUBLIC_ENDPOINT, value: {{ .Values.publicEndpoint | quote }}}
- {name: BLOOMERY_OBJECT_STORE__CA_CERTS, value: /etc/bloomery/tls/ca.crt}
{{- end }}
- {name: BLOOMERY_OBJECT_STORE__ACCESS_KEY_FILE, value: /etc/bloomery/credentials/object-store-access-key}
- {name: BLOOMERY_OBJECT_STORE__SECRET_KEY_FILE, value: /etc/bloomery/credentials/object-store-secret-key}
- {name: BLOOMERY_ACCESS_TARGET, value: {{ include "bloomery.target" (dict "root" $ "component" "access") | quote }}}
- {name: BLOOMERY_PORT, value: "50051"}
- {name: BLOOMERY_HEALTH_PORT, value: "50050"}
- {name: BLOOMERY_METRICS_PORT, value: "9090"}
{{- end }}

{{/*
One of the services: its Deployment, a Service for the proxy, and one for its neighbours, whose clients spread calls over the pods themselves.
Arguments: root, component, health (the name that its readiness goes by), environment (a list of variables); ports, account (whether it asks the cluster),
recipes and authority (ConfigMaps) may be left out.
*/}}
{{- define "bloomery.service" -}}
{{- $values := index .root.Values.services .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "bloomery.metadata" . | nindent 2 }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels: {{- include "bloomery.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "bloomery.labels" . | nindent 8 }}
      annotations: {{- include "bloomery.scraped" 9090 | nindent 8 }}
    spec:
      {{- include "bloomery.pod" . | nindent 6 }}
      {{- include "bloomery.spread" . | nindent 6 }}
      terminationGracePeriodSeconds: 60
      {{- if eq .root.Values.database.mode "embedded" }}
      initContainers:
        # The first start of all takes longer than a service tries to reach its database.
        - name: database
          image: {{ .root.Values.images.control | quote }}
          imagePullPolicy: {{ .root.Values.images.pullPolicy }}
          command: [sh, -c, "until python -P -c 'import socket, sys; socket.create_connection((sys.argv[1], 5432), 2)' $0 2>/dev/null; do sleep 1; done", {{ .root.Release.Name }}-postgres]
          {{- include "bloomery.confined" . | nindent 10 }}
          resources: {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: scratch, mountPath: /tmp}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ .root.Values.images.control | quote }}
          imagePullPolicy: {{ .root.Values.images.pullPolicy }}
          command: [python, -P, -m, bloomery_{{ .component }}]
          {{- include "bloomery.confined" . | nindent 10 }}
          env:
            {{- include "bloomery.settings" .root | nindent 12 }}
            {{- include "bloomery.tracing" .root | nindent 12 }}
            {{- with .environment }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- range $name, $value := $values.environment }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
          ports:
            - {name: grpc, containerPort: 50051}
            - {name: health, containerPort: 50050}
            - {name: metrics, containerPort: 9090}
            {{- range .ports }}
            - {{ toJson . }}
            {{- end }}
          # The schema is migrated before the first answer.
          startupProbe:
            grpc: {port: 50050}
            periodSeconds: 2
            failureThreshold: 150
          livenessProbe:
            grpc: {port: 50050}
            periodSeconds: 15
            timeoutSeconds: 10
          readinessProbe:
            grpc: {port: 50050, service: {{ .health }}}
            periodSeconds: 5
            timeoutSeconds: 5
          resources: {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: scratch, mountPath: /tmp}
            {{- include "bloomery.credentialsMount" . | nindent 12 }}
            {{- include "bloomery.tlsMount" . | nindent 12 }}
            {{- if .recipes }}
            - {name: recipes, mountPath: /etc/bloomery/recipes, readOnly: true}
            {{- end }}
            {{- if .authority }}
            - {name: authority, mountPath: /etc/bloomery/authority, readOnly: true}
            {{- end }}
      volumes:
        - name: scratch
          emptyDir: {}
        {{- include "bloomery.credentialsVolume" .root | nindent 8 }}
        {{- include "bloomery.tlsVolume" (dict "root" .root "component" .component) | nindent 8 }}
        {{- with .recipes }}
        - name: recipes
          configMap: {name: {{ . }}}
        {{- end }}
        {{- with .authority }}
        - name: authority
          configMap: {name: {{ . }}}
        {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "bloomery.metadata" . | nindent 2 }}
spec:
  selector: {{- include "bloomery.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 50051, targetPort: grpc}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .root.Release.Name }}-{{ .component }}-pods
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "bloomery.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector: {{- include "bloomery.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 50051, targetPort: grpc}
    {{- range .ports }}
    - {name: {{ .name }}, port: {{ .containerPort }}, targetPort: {{ .name }}}
    {{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "bloomery.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "bloomery.selector" . | nindent 6 }}
{{- include "bloomery.autoscaler" (dict "root" .root "component" .component "autoscaling" $values.autoscaling) }}
{{- end }}

{{- define "bloomery.tracing" -}}
{{- with .Values.monitoring.tracing -}}
{{- if .endpoint -}}
- {name: BLOOMERY_TRACING__ENDPOINT, value: {{ .endpoint | quote }}}
- {name: BLOOMERY_TRACING__RATIO, value: {{ .ratio | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* How a Prometheus that goes by annotations finds the metrics of a pod; the argument is their port. */}}
{{- define "bloomery.scraped" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ . | quote }}
{{- end }}

{{/* Where one service finds another. */}}
{{- define "bloomery.target" -}}
dns:///{{ .root.Release.Name }}-{{ .component }}-pods:50051
{{- end }}

{{/* The volume of a StatefulSet that outlives its pod; the argument is its `storage`. */}}
{{- define "bloomery.claim" -}}
{{- if not .ephemeral -}}
volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .className }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests: {storage: {{ .size }}}
{{- end }}
{{- end }}

{{/* The volume in its place where nothing is to be kept. */}}
{{- define "bloomery.kept" -}}
{{- if .ephemeral -}}
- name: data
  emptyDir: {sizeLimit: {{ .size }}}
{{- end }}
{{- end }}

{{/* The Service of a part that the release brings; arguments: this, name, port. */}}
{{- define "bloomery.ownService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "bloomery.metadata" .this | nindent 2 }}
spec:
  selector: {{- include "bloomery.selector" .this | nindent 4 }}
  ports:
    - {name: {{ .name }}, port: {{ .port }}, targetPort: {{ .name }}}
{{- end }}

{{/* The ConfigMap with the authority whose certificate signed URLs lead to; empty where it is one that everybody trusts. */}}
{{- define "bloomery.authority" -}}
{{- if .Values.tls.authorityConfigMap -}}
{{ .Values.tls.authorityConfigMap }}
{{- else if and (not .Values.tls.existingSecret) (not .Values.gateway.enabled) (eq .Values.objectStore.mode "embedded") -}}
{{ include "bloomery.ownAuthority" . }}
{{- end }}
{{- end }}

{{- define "bloomery.trust" -}}
{{- if include "bloomery.authority" . -}}
- {name: SSL_CERT_FILE, value: /etc/bloomery/authority/ca.crt}
{{- end }}
{{- end }}

{{- define "bloomery.trustMount" -}}
{{- if include "bloomery.authority" . -}}
- {name: authority, mountPath: /etc/bloomery/authority, readOnly: true}
{{- end }}
{{- end }}

{{- define "bloomery.trustVolume" -}}
{{- with include "bloomery.authority" . -}}
- name: authority
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}
