# Completions of my-app, made from its command line: UPDATE_COMPLETIONS=1 cargo test --lib completions

# Whether one of these commands stands behind the program's name.
function __my_app_is
    set -l words (commandline -opc)
    contains -- "$words[2]" $argv
end

complete -c my-app -f
complete -c my-app -n 'test (count (commandline -opc)) -eq 1' -a check -d 'Check configuration, files, limits, ports and nginx; tell how to fix what is wrong'
complete -c my-app -n 'test (count (commandline -opc)) -eq 1' -a status -d 'Show the running server: workers, sessions, rates, limits, faults'
complete -c my-app -n 'test (count (commandline -opc)) -eq 1' -a why -d 'Tell why a client\'s sessions ended, and who caused it'
complete -c my-app -n 'test (count (commandline -opc)) -eq 1' -a emit -d 'Emit an event to the clients of this machine'
complete -c my-app -n 'test (count (commandline -opc)) -eq 1' -a log -d 'Change the log level of the running server, or reopen its log file'
complete -c my-app -n 'test (count (commandline -opc)) -eq 1' -a drain -d 'Take this machine out of service, or put it back'
complete -c my-app -n 'not __my_app_is check status why emit log drain' -l config -r -F -d 'Read this configuration instead of /etc/my-app/my-app.toml'
complete -c my-app -n 'not __my_app_is check status why emit log drain' -l listen -x -d 'Listen at host:port or unix:PATH; may be given more than once'
complete -c my-app -n 'not __my_app_is check status why emit log drain' -l workers -x -d 'Run this many workers; 0: one for each usable core'
complete -c my-app -n 'not __my_app_is check status why emit log drain' -l cors -x -d 'Let pages of this origin connect, too; may be given more than once'
complete -c my-app -n 'not __my_app_is check status why emit log drain' -l bridge -x -d 'Join other machines over this Redis or Postgres'
complete -c my-app -n 'not __my_app_is check status why emit log drain' -l help -d 'Print help (see more with \'--help\')'
complete -c my-app -n 'not __my_app_is check status why emit log drain' -l version -d 'Print version'
complete -c my-app -n '__my_app_is check' -l config -r -F -d 'Check this file instead of /etc/my-app/my-app.toml'
complete -c my-app -n '__my_app_is check' -l json -d 'Print the report as JSON, for programs'
complete -c my-app -n '__my_app_is check' -l help -d 'Print help'
complete -c my-app -n '__my_app_is status' -l json -d 'Print what the server says as JSON; with --watch a line each second'
complete -c my-app -n '__my_app_is status' -l watch -d 'Redraw every second, until q or Ctrl-C'
complete -c my-app -n '__my_app_is status' -l config -r -F -d 'The configuration that names the control socket, instead of /etc/my-app/my-app.toml'
complete -c my-app -n '__my_app_is status' -l socket -r -F -d 'The control socket itself'
complete -c my-app -n '__my_app_is status' -l help -d 'Print help'
complete -c my-app -n '__my_app_is why' -l json -d 'Print what the server says as JSON'
complete -c my-app -n '__my_app_is why' -l config -r -F -d 'The configuration that names the control socket, instead of /etc/my-app/my-app.toml'
complete -c my-app -n '__my_app_is why' -l socket -r -F -d 'The control socket itself'
complete -c my-app -n '__my_app_is why' -l help -d 'Print help'
complete -c my-app -n '__my_app_is emit' -l namespace -x -d 'To the sockets of this namespace'
complete -c my-app -n '__my_app_is emit' -l room -x -d 'Only to those in this room; may be given more than once'
complete -c my-app -n '__my_app_is emit' -l config -r -F -d 'The configuration that names the control socket, instead of /etc/my-app/my-app.toml'
complete -c my-app -n '__my_app_is emit' -l socket -r -F -d 'The control socket itself'
complete -c my-app -n '__my_app_is emit' -l help -d 'Print help'
complete -c my-app -n '__my_app_is log' -l for -x -d 'Only for this time, such as 5m'
complete -c my-app -n '__my_app_is log' -l config -r -F -d 'The configuration that names the control socket, instead of /etc/my-app/my-app.toml'
complete -c my-app -n '__my_app_is log' -l socket -r -F -d 'The control socket itself'
complete -c my-app -n '__my_app_is log' -l help -d 'Print help'
complete -c my-app -n '__my_app_is log' -a 'reopen off error warn info debug trace'
complete -c my-app -n '__my_app_is drain' -l over -x -d 'End the sessions spread over this time, such as 5m'
complete -c my-app -n '__my_app_is drain' -l undo -d 'Put this machine back into service'
complete -c my-app -n '__my_app_is drain' -l config -r -F -d 'The configuration that names the control socket, instead of /etc/my-app/my-app.toml'
complete -c my-app -n '__my_app_is drain' -l socket -r -F -d 'The control socket itself'
complete -c my-app -n '__my_app_is drain' -l help -d 'Print help'
