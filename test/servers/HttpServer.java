import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

/**
 * The JDK's HTTP server: answers every request with its pid, after as many milliseconds as its ?delay=MS says.
 * Usage: java HttpServer PORT [HOST]
 */
public final class HttpServer {
  public static void main(String[] args) throws Exception {
    int port = Integer.parseInt(args[0]);
    String host = args.length > 1 ? args[1] : "127.0.0.1";
    byte[] body = ("pid " + ProcessHandle.current().pid() + "\n").getBytes();
    var server = com.sun.net.httpserver.HttpServer.create(new InetSocketAddress(host, port), 0);
    server.setExecutor(Executors.newCachedThreadPool());
    server.createContext("/", exchange -> {
      String query = exchange.getRequestURI().getQuery();
      if (query != null && query.startsWith("delay=")) sleep(Long.parseLong(query.substring("delay=".length())));
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    server.start();
    System.out.println("listening on " + port + " pid " + ProcessHandle.current().pid());
  }

  private static void sleep(long ms) {
    try {
      Thread.sleep(ms);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
  }
}
