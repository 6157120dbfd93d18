#!/bin/sh
# The examples of the first PYTQ's README, as they were written; only names of hosts and images are
# variables. It launches and prints ids; workers of the batches test, housecleaning, s5810 and SRA21
# do the work. `tests/examples` runs it against real servers, with images made for it.
set -eu

TASKS=${TASKS:-100}                                  # of each loop over tasks
ALPINE=${ALPINE:-alpine:latest}                      # any image with a shell
MYDOCKER=${MYDOCKER:-mydocker}                       # has do_mystuff
PIGZ=${PIGZ:-ghcr.io/kasperskytte/docker-pigz:master} # its entrypoint is pigz
REGISTRY=${REGISTRY:-registry.gmt.bio:5000}          # has the two pipelines below

# --- A command, and a command in a container
pytq-launch -b test echo 'Hello world!'
pytq-launch -b test -d "$ALPINE" echo 'Hello world!'

# --- NFS: /data is the same folder on every worker
for i in $(seq 1 "$TASKS")
do
pytq-launch -b test -d "$MYDOCKER" sh -c "rm -fr /data/work/task$i && \
mkdir -p /data/work/task$i && cd /data/work/task$i && do_mystuff task$i"
done

# --- NFS, with a variable that is interpreted inside the container
for i in $(seq 1 "$TASKS")
do
pytq-launch -b test -d "$MYDOCKER" sh -c "rm -fr /data/work/again$i && \
mkdir -p /data/work/again$i && cd /data/work/again$i && for j in \$(seq 1 5); do \
do_mystuff again$i -try \$j && break; done"
done

# --- $CPU: the worker's threads divided by its concurrency
for i in $(seq 1 "$TASKS")
do
pytq-launch -b housecleaning -d "$PIGZ" -p \$CPU -r /data/archive/task$i
done

# --- S3: inputs, an output folder, a private registry
for i in $(seq 1 8)
do
pytq-launch -b s5810 -n mgshot_S5810Nr$i \
-i "s3://clinical/S5810/mgshot_S5810Nr$i.1.fastq.gz s3://clinical/S5810/mgshot_S5810Nr$i.2.fastq.gz" \
-o "s3://clinical/results/S5810Nr$i/" \
-d "$REGISTRY/biomscope-pipeline-oral:0.4" \
sh -c "pipeline_rnd.sh -e -c /input mgshot_S5810Nr$i; returncode=\$?;  cd /input; rm *.fastq.gz; cp * /output/ ; exit \$returncode"
done

# --- Public sequencing runs in, NFS out
for i in SRR890934 SRR890935 SRR890936 SRR890937 SRR890938 SRR890939
do
pytq-launch -b SRA21 -n $i \
-i "run+fastq/$i/" \
-d "$REGISTRY/biomscope-pipeline:0.8.1" \
sh -c "pipeline_rnd.sh -e -c /input $i; returncode=\$?;  rm /input/*.fastq.gz; cp /input/* /data/results/SRA21/$i/; exit \$returncode"
done

# --- A resource, downloaded once per worker
for i in $(seq 1 "$TASKS")
do
pytq-launch -b test -d "$MYDOCKER" -r "s3://database/my.db" \
  -i "s3://data/sample_$i/sample_$i.dat" -o "s3://results/sample_$i/" \
  sh -c "do_mystuff --db /resource/my.db --output /output/ /input/sample_$i.dat"
done

# --- The same, unpacked on arrival
for i in $(seq 1 "$TASKS")
do
pytq-launch -b test -d "$MYDOCKER" -r "s3://database/my.db.gz|gunzip" \
  -i "s3://data/sample_$i/sample_$i.dat" -o "s3://results/unpacked_$i/" \
  sh -c "do_mystuff --db /resource/my.db --output /output/ /input/sample_$i.dat"
done
