# A prologue for nodes without CVMFS, with cvmfsexec (github.com/cvmfs/cvmfsexec) on the shared file system. Copy it
# beside your site file, name it there in software.prologue, and correct these two lines:
cvmfsexec_program="${HARVEST_CVMFSEXEC:-/path/to/cvmfsexec/cvmfsexec}"
cvmfsexec_repositories="${HARVEST_CVMFS:-atlas.cern.ch sft.cern.ch}"

# A batch script ends by `exec`, with the runner. So this starts the runner, and all payloads that it starts on its own
# node, where the repositories are mounted. What a launcher starts on other nodes is outside of it: there the program,
# the repositories and "--" go at the end of launcher.argv.
exec() {
    # shellcheck disable=SC2086 # several words
    builtin exec "$cvmfsexec_program" $cvmfsexec_repositories -- "$@"
}
